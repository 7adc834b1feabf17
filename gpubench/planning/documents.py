"""What `plan` reads: the cells and the searches of run directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpubench.errors import InputError, nearest
from gpubench.planning.axis import setting_value
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import SearchResult
from gpubench.spec.spec import PRICING_FIELDS, Spec


@dataclass(frozen=True)
class Place:
    """A document of a run directory."""

    url: str  # of the directory
    name: str  # without a suffix, as in `RunDirectory.read`


@dataclass(frozen=True)
class Documents:
    """What was read: cells and searches, each with its place."""

    cells: tuple[tuple[Place, Result], ...]
    searches: tuple[tuple[Place, SearchResult], ...]


def read_documents(directories: Sequence[str | Path]) -> tuple[Documents, tuple[str, ...]]:
    """Every cell and every search of these directories, and what could not be read.

    Raises InputError as `RunDirectory.read_all` does, and if there is no cell and no search.
    """
    if not directories:
        raise InputError("plan needs a run directory; measure with gpubench sweep --output DIR")
    # A directory and its copy have the same documents, and a document counts once.
    cells: dict[tuple[str, str], tuple[Place, Result]] = {}
    searches: dict[tuple[str, str], tuple[Place, SearchResult]] = {}
    problems: list[str] = []
    for url in dict.fromkeys(map(str, directories)):
        contents = open_run(url).read_all(searches=True, cold=True)
        problems += contents.problems
        for name, result in contents.cells:
            where = result.environment.model_dump_json()
            cells.setdefault((name, where), (Place(url, name), result))
        for name, found in contents.searches:
            where = found.environment.model_dump_json() if found.environment else ""
            searches.setdefault((name, where), (Place(url, name), found))
    if not cells and not searches:
        raise InputError(
            f"{directories[0]} holds no cell and no search; measure with gpubench sweep --output "
            f"{directories[0]}"
        )
    return Documents(tuple(cells.values()), tuple(searches.values())), tuple(problems)


def filtered(documents: Documents, only: Sequence[str]) -> Documents:
    """The documents with these settings, each as 'SETTING=VALUE'.

    Raises InputError, which names --only, for anything else, and if nothing is left.
    """
    for text in only:
        name, has_value, value = text.partition("=")
        setting = name.strip().replace("-", "_")
        if not has_value:
            raise InputError(f"--only {text}: write it as SETTING=VALUE, like inputs=host")
        specs = [each.spec for _, each in documents.cells]
        specs += [each.spec for _, each in documents.searches]
        known = [each for each in Spec.model_fields if each not in PRICING_FIELDS]
        if setting not in specs[0].measured_settings():
            raise InputError(f"--only: unknown setting '{name.strip()}'; {nearest(setting, known)}")
        values = list(dict.fromkeys(spec.measured_settings()[setting] for spec in specs))
        wanted = setting_value(setting, value.strip(), values, "--only")

        def fits(spec: Spec, setting: str = setting, wanted: object = wanted) -> bool:
            return bool(spec.measured_settings()[setting] == wanted)

        documents = Documents(
            tuple(each for each in documents.cells if fits(each[1].spec)),
            tuple(each for each in documents.searches if fits(each[1].spec)),
        )
    return documents


def electrified(documents: Documents, asked: Electricity | None) -> Documents:
    """The documents with the figures of electricity that were asked for."""
    if asked is None:
        return documents

    def priced(found: SearchResult) -> SearchResult:
        probes = [
            each.model_copy(update={"result": with_electricity(each.result, asked)})
            for each in found.probes
        ]
        return found.model_copy(update={"probes": probes})

    return Documents(
        tuple((place, with_electricity(result, asked)) for place, result in documents.cells),
        tuple((place, priced(found)) for place, found in documents.searches),
    )
