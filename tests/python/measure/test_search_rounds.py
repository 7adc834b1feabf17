"""Searches that are made several times, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubench.cli import program as cli
from gpubench.errors import InputError
from gpubench.measure import fresh
from gpubench.measure.progress import Progress
from gpubench.measure.search import SearchInterrupted
from gpubench.measure.search_rounds import SearchOutcome, search_repeatedly
from gpubench.results.result import Failure
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import ObjectiveInfo, SearchResult
from gpubench.spec.objective import Objective, SearchSettings, parse_objective
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec

SPEC = Spec(model="synthetic", service_time=1e-5, warmup=0.0, requests=100)
SETTINGS = SearchSettings(parse_objective("p90:1s"), probes=3)
FLAGS = ["--model", "synthetic", "--service-time", "10us", "--warmup", "0", "--requests", "100"]


def repeated(
    directory: Path, repetition: Repetition = ONCE, settings: SearchSettings = SETTINGS
) -> SearchOutcome:
    return search_repeatedly(SPEC, settings, directory, Progress(), repetition)


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The seeds of the searches, which are not really made. The fourth is interrupted."""
    asked: list[int | None] = []

    def search(
        spec: Spec, objective: Objective, tolerance: float, probes: int, progress: Progress
    ) -> SearchResult:
        asked.append(spec.load_seed)
        found = SearchResult(
            spec=spec,
            objective=ObjectiveInfo(percentile="p90", latency_ms=1000.0),
            max_rate_per_second=100.0,
        )
        if len(asked) == 4:
            found.error = Failure(stage="measure", message="interrupted")
            raise SearchInterrupted(found)
        return found

    monkeypatch.setattr("gpubench.measure.search_rounds.search", search)
    return asked


def test_each_repeat_has_its_arrivals_and_its_document(
    tmp_path: Path, seeds: list[int | None]
) -> None:
    found = repeated(tmp_path, Repetition(3)).repeats
    assert [r.repeat.number for r in found if r.repeat] == [1, 2, 3]
    assert seeds == [None, 1_000_000, 2_000_000]
    keys = sorted(path.name for path in tmp_path.glob("*.json"))
    assert [name[23:] for name in keys] == ["-2.json", "-3.json", ".json"]
    again = repeated(tmp_path, Repetition(3))
    assert again.repeats == found
    assert len(seeds) == 3

    stopped = repeated(tmp_path, Repetition(5))
    assert stopped.interrupted
    assert [r.error is None for r in stopped.repeats] == [True, True, True, False]
    assert len(repeated(tmp_path, Repetition(5)).repeats) == 5
    assert seeds[3:] == [3_000_000, 3_000_000, 4_000_000]

    repeated(tmp_path, settings=SearchSettings(parse_objective("p95:1s"), probes=3))
    assert len(seeds) == 7, "another objective is another search"


def test_until_ends_when_the_rate_is_known(tmp_path: Path, seeds: list[int | None]) -> None:
    seeds += [None] * 4  # no interruption
    outcome = repeated(tmp_path, Repetition(20, until=0.02))
    assert len(outcome.repeats) == 5


def test_a_search_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = repeated(tmp_path, Repetition(fresh=True)).repeats
    assert found.error is None
    assert found.repeat is not None
    assert found.repeat.process != fresh.THIS_PROCESS
    monkeypatch.setattr(fresh, "_START", "raise SystemExit(7)")
    _, failed = repeated(tmp_path, Repetition(2, fresh=True)).repeats
    assert failed.error is not None
    assert "ended with status 7" in failed.error.message


def test_searches_are_reported_and_are_no_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    search = ["search", "--objective", "p90:1s", "--probes", "3", *FLAGS, "--output", run]
    assert cli.main([*search, "--repeats", "2"]) == 0
    captured = capsys.readouterr()
    assert "search 2 of 2, about" in captured.err
    assert "the geometric mean of the rates that 2 of 2 searches found" in captured.out
    assert cli.main([*search, "--repeats", "2", "--quiet"]) == 0
    again = capsys.readouterr()
    assert again.out == captured.out
    assert "nothing was measured" in again.err
    assert cli.main(["report", run]) == 0
    assert capsys.readouterr().out == captured.out
    assert cli.main(["report", run, "--format", "csv"]) == 2
    assert "has no cells, and csv holds only these" in capsys.readouterr().err
    assert cli.main(["compare", run, run]) == 2
    assert "holds only searches or cold starts" in capsys.readouterr().err
    assert cli.main(["sweep", *FLAGS, "--output", run, "--quiet"]) == 0
    assert len(open_run(run).read_all().cells) == 1
    assert len(open_run(run).read_all(searches=True).searches) == 2


def test_a_damaged_search_is_named_and_made_again(tmp_path: Path, seeds: list[int | None]) -> None:
    repeated(tmp_path, Repetition(2))
    path, _ = sorted(tmp_path.glob("*.json"))
    for text in ("{}", "nonsense"):
        path.write_text(text)
        contents = open_run(tmp_path).read_all(searches=True)
        assert len(contents.searches) == 1
        assert len(contents.problems) == 1
        assert str(path) in contents.problems[0]
    assert len(repeated(tmp_path, Repetition(2)).repeats) == 2
    assert len(seeds) == 3


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (SearchSettings(parse_objective("p90:1s"), tolerance=2.0), "--tolerance 2"),
        (SearchSettings(parse_objective("p90:1s"), probes=0), "--probes 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, settings: SearchSettings, hint: str
) -> None:
    with pytest.raises(InputError, match=hint):
        repeated(tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
