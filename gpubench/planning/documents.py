"""What `plan` and `load` read: run directories, JSON files, and results of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeGuard, TypeVar

from gpubench.errors import InputError, nearest
from gpubench.planning.axis import setting_value
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity
from gpubench.results.cold_result import ColdResult
from gpubench.results.read import open_results, read_contents
from gpubench.results.result import Result
from gpubench.results.run_directory import cold_name, repeat_name, search_name
from gpubench.results.search_result import SearchResult
from gpubench.spec.spec import PRICING_FIELDS, Spec

if TYPE_CHECKING:
    from gpubench.results.samples import Samples


@dataclass(frozen=True)
class Place:
    """A document of a run directory."""

    url: str  # of the directory
    name: str  # without a suffix, as in `RunDirectory.read`


@dataclass(frozen=True)
class Documents:
    """What was read: cells, searches and cold starts, each with its place."""

    cells: tuple[tuple[Place, Result], ...]
    searches: tuple[tuple[Place, SearchResult], ...]
    cold: tuple[tuple[Place, ColdResult], ...] = ()
    directories: tuple[str, ...] = ()


class Collection(Protocol):
    """What `gpubench.load` returns."""

    @property
    def documents(self) -> Documents: ...

    @property
    def problems(self) -> tuple[str, ...]: ...


# A path or URL, or what was read or measured already.
Source = str | Path | Result | SearchResult | ColdResult | Collection
AnyDocument = TypeVar("AnyDocument", Result, SearchResult, ColdResult)


def read_documents(sources: Sequence[Source]) -> tuple[Documents, tuple[str, ...]]:
    """Every cell and every search of these sources, and what could not be read.

    Raises InputError as `gather` does, and if there is no cell and no search.
    """
    if not sources:
        raise InputError("plan needs a run directory; measure with gpubench sweep --output DIR")
    documents, problems = gather(sources)
    if not documents.cells and not any(found.probes for _, found in documents.searches):
        name = sources[0] if isinstance(sources[0], (str, Path)) else "this"
        raise InputError(
            f"{name} holds no cell and no search with a measurement; measure with gpubench sweep "
            "--output DIR"
        )
    return documents, problems


def listed(sources: Source | Sequence[Source]) -> Sequence[Source]:
    """One source or several as a list."""
    if isinstance(sources, (str, Path, Result, SearchResult, ColdResult)):
        return [sources]
    return sources if isinstance(sources, Sequence) and not _is_collection(sources) else [sources]


def gather(sources: Sequence[Source]) -> tuple[Documents, tuple[str, ...]]:
    """Every document of these sources, and what could not be read.

    Raises InputError as `read_contents` does, and for an object that is no source.
    """
    cells: list[tuple[Place, Result]] = []
    searches: list[tuple[Place, SearchResult]] = []
    cold: list[tuple[Place, ColdResult]] = []
    problems: list[str] = []
    directories: list[str] = []
    made: Counter[str] = Counter()

    def in_memory(key: str) -> Place:
        """A place of its own for a document that is in no directory."""
        made[key] += 1
        return Place("", repeat_name(key, made[key]))

    for source in sources:
        if isinstance(source, (str, Path)):
            contents = read_contents(source)
            is_file = Path(source).is_file()
            url = str(Path(source).parent) if is_file else str(source)
            directories += [] if is_file else [url]
            cells += [(Place(url, name), each) for name, each in contents.cells]
            searches += [(Place(url, name), each) for name, each in contents.searches]
            cold += [(Place(url, name), each) for name, each in contents.cold]
            problems += contents.problems
        elif isinstance(source, Result):
            cells.append((in_memory(source.spec.key("")), source))
        elif isinstance(source, SearchResult):
            key = search_name(f"{source.spec.key('')} {source.objective.model_dump_json()}")
            searches.append((in_memory(key), source))
        elif isinstance(source, ColdResult):
            cold.append((in_memory(cold_name(source.spec.key(""))), source))
        elif _is_collection(source):
            cells += source.documents.cells
            searches += source.documents.searches
            cold += source.documents.cold
            problems += source.problems
            directories += source.documents.directories
        else:
            raise InputError(
                f"what was measured cannot be read from an object of type {type(source).__name__}; "
                "give a run directory, a JSON file, or results"
            )
    documents = Documents(
        _once(cells), _once(searches), _once(cold), tuple(dict.fromkeys(directories))
    )
    return documents, tuple(dict.fromkeys(problems))


def samples_of(place: Place, result: Result) -> Samples | None:
    """The time stamps of a cell. None if it has none, or is neither measured here nor in a file.

    Raises InputError if the file is damaged.
    """
    if result.samples is not None or not place.url:
        return result.samples
    return open_results(place.url).read_samples(place.name, result.sample_file)


def _is_collection(source: object) -> TypeGuard[Collection]:
    return isinstance(getattr(source, "documents", None), Documents)


def _once(documents: Sequence[tuple[Place, AnyDocument]]) -> tuple[tuple[Place, AnyDocument], ...]:
    """A directory and its copy have the same documents, and a document counts once."""
    found: dict[tuple[str, str], tuple[Place, AnyDocument]] = {}
    for place, document in documents:
        where = document.environment
        found.setdefault((place.name, where.model_dump_json() if where else ""), (place, document))
    return tuple(found.values())


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
        specs += [each.spec for _, each in documents.cold]
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
            tuple(each for each in documents.cold if fits(each[1].spec)),
            documents.directories,
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
        documents.cold,
        documents.directories,
    )
