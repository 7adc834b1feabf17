"""What the reading commands make of odd run directories: a useful table, or one clear line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from factories import cold_result, failed, result, samples
from planning_results import open_loop, search, written

from gpubench.cli import program as cli
from gpubench.results.result import Failure, Reason, Result
from gpubench.results.search_result import SearchResult

NAME = "0" * 16
EVIL = '<img src=x onerror=a()>\x1b]0;x\x07\u202e=HYPERLINK("x")|`*[a](b)'
PLAN = ("--objective", "p95:100ms")
COMMANDS = [
    *[("report", "DIR", "--format", form) for form in ("terminal", "html", "markdown", "json")],
    ("report", "DIR", "--percentiles", "50,97"),
    ("report", "DIR", "--instance", "g5.xlarge"),
    ("plan", "DIR", *PLAN, "--all"),
    ("plan", "DIR", *PLAN, "--format", "html"),
    ("plan", "DIR", *PLAN, "--rate", "100"),
    ("compare", "DIR", "GOOD"),
    ("compare", "DIR", "GOOD", "--format", "html"),
]


def named(evil: str) -> Result:
    """A cell with hostile text wherever a document may have any text."""
    reason = Reason(code="drift", figure=evil, limit=1.0, remedy=evil)
    cell = result(reasons=(reason,))
    weights = cell.spec.model_copy(update={"weights": f"/models/{evil}"})
    environment = cell.environment.model_copy(update={"cpu": evil, "torch": evil})
    return cell.model_copy(update={"spec": weights, "environment": environment})


def unmeasured() -> SearchResult:
    error = Failure(stage="load", message="no memory")
    return search(None).model_copy(update={"probes": [], "environment": None, "error": error})


def edited(folder: Path, change: Callable[[str], str], *found: Result | SearchResult) -> None:
    """A directory whose first document is changed."""
    written(folder, *found)
    file = sorted(folder.glob("*.json"))[0]
    file.write_text(change(file.read_text()))


def partial(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{NAME}.parquet").write_bytes(b"PAR1")
    (folder / f".{NAME}.json.12345678.tmp").write_text("{")


def only_cold(folder: Path) -> None:
    folder.mkdir()
    (folder / f"cold-{NAME}.json").write_text(cold_result().to_json())


def newer(text: str) -> str:
    return json.dumps(json.loads(text) | {"schema": 2})


def damaged_samples(folder: Path) -> None:
    written(folder, result(), measured=samples(200))
    (folder / f"{NAME}.parquet").write_bytes(b"x" * 100)


DIRECTORIES: dict[str, Callable[[Path], object]] = {
    "empty": lambda folder: folder.mkdir(),
    "partial": partial,
    "damaged": lambda folder: edited(folder, lambda text: text[:500], result()),
    "half damaged": lambda folder: edited(folder, lambda t: t[:500], result(), result(batch=2)),
    "damaged samples": damaged_samples,
    "newer": lambda folder: edited(folder, newer, result()),
    "newer search": lambda folder: edited(folder, newer, search(9.0)),
    "only failures": lambda folder: written(folder, failed(), failed(EVIL, batch=2)),
    "without cost": lambda folder: written(folder, result(), open_loop(9.0, 50.0, 60.0)),
    "price of 0": lambda folder: written(folder, result(usd_per_hour=0.0)),
    "only searches": lambda folder: written(folder, search(9.0), search(None)),
    "unmeasured searches": lambda folder: written(folder, unmeasured(), unmeasured()),
    "only cold starts": only_cold,
    "hostile": lambda folder: written(folder, named(EVIL), search(9.0), failed(EVIL, batch=3)),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_every_command_shows_something_useful_or_says_one_clear_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DIRECTORIES[name](tmp_path / "run")
    places = {"DIR": str(tmp_path / "run"), "GOOD": written(tmp_path / "good", result())}
    for command in COMMANDS:
        status = cli.main([places.get(part, part) for part in command])
        captured = capsys.readouterr()
        if status == cli.BAD_INPUT:
            assert captured.out == ""
            *_, last = captured.err.splitlines()  # warnings may stand before it
            assert last.startswith("gpubench: ")
        else:
            assert status in {0, 1}
            assert captured.out.strip() or "ended before the first measurement" in captured.err
        for text in (captured.out, captured.err):
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
        markup = re.sub(r"<script.*?</script>", "", captured.out, flags=re.DOTALL)
        assert "<img" not in markup or "html" not in command
        assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    [
        ("only searches", ("compare", "DIR", "DIR"), "holds only searches or cold starts; give"),
        ("only searches", ("report", "DIR", "--format", "csv"), "has no cells, and csv holds only"),
        ("unmeasured searches", ("plan", "DIR", *PLAN), "no search with a measurement; measure"),
        ("only cold starts", ("plan", "DIR", *PLAN), "holds no cell and no search"),
        ("newer", ("report", "DIR"), "read it with the version that wrote it"),
        ("partial", ("report", "DIR"), "holds no results; measure with gpubench sweep"),
    ],
)
def test_the_line_names_the_fix(
    name: str,
    command: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    DIRECTORIES[name](tmp_path / "run")
    argv = [str(tmp_path / "run") if part == "DIR" else part for part in command]
    assert cli.main(argv) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert expected in captured.err


def test_searches_that_measured_nothing_are_named_with_their_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", written(tmp_path / "run", unmeasured())]) == 0
    err = capsys.readouterr().err
    assert "1 of the searches ended before the first measurement: no memory" in err
