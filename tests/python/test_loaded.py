"""`gpubench.load`: results in a program and in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import altair
import pyarrow.parquet as pq
import pytest
from factories import TOO_FEW, cold_result, failed, quick_start, repeated, result, samples
from planning_results import open_loop, search

import gpubench
from gpubench.cli.program import main
from gpubench.report.charts.chart import Chart, ChartSet
from gpubench.report.report import of_page
from gpubench.results.run_directory import open_run
from gpubench.system import packages

HOSTILE = "=<script>alert('1')</script>\x1b[31m\u202eabc&amp;"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two cells, one of them with three repeats, a search and cold starts."""
    directory = open_run(tmp_path / "run")
    directory.check_writable()
    for number, each in enumerate(repeated(10.0, 11.0, 12.0, batch=2), start=1):
        directory.write("a" if number == 1 else f"a-{number}", each, samples(10))
    directory.write("b", result(18.4, instance=["g5.xlarge", "c7i.xlarge"]))
    directory.write_search("search-c", search(50.0, (48.0, 52.0)))
    directory.write_cold("cold-d", cold_result())
    return tmp_path / "run"


def test_a_run_directory_is_a_sequence_of_its_cells(run: Path) -> None:
    loaded = gpubench.load(run)
    assert [each.throughput_per_second for each in loaded] == [10.0, 11.0, 12.0, 18.4]
    assert loaded.keys == ("a", "a-2", "a-3", "b")
    assert (len(loaded.searches), len(loaded.cold), loaded.problems) == (1, 1, ())
    assert repr(loaded) == "<gpubench.Results, cells: 4, searches: 1, cold: 1>"
    assert repr(loaded[:0]) == "<gpubench.Results, empty>"
    assert [each.spec.batch for each in gpubench.combine(loaded)] == [2, 1]
    assert len(loaded[1:]) == 3
    assert loaded[1:].searches == ()
    own = loaded.samples(0)
    assert own is not None
    assert len(own) == 10
    assert repr(own) == "<gpubench.Samples: 10 requests>"
    assert loaded.samples(3) is None


def test_a_table_has_the_rows_and_columns_of_the_csv_file(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "--format", "csv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    table = gpubench.load(run).to_arrow()
    assert table.column_names == header.split(",")
    assert table.num_rows == len(rows) == 3  # two cells, one of which has two prices
    row = table.to_pylist()[0]
    assert row["cell"] == "a"
    assert row["repeats"] == 3
    assert row["sequence_length_tokens"] is None
    assert gpubench.load(run).to_arrow(each_repeat=True)["repeat_number"].to_pylist()[:3] == [
        1,
        2,
        3,
    ]


def test_a_data_frame_keeps_absent_and_whole_numbers_apart(run: Path) -> None:
    frame = gpubench.load(run).to_pandas()
    assert frame["repeats"].tolist()[0] == 3
    assert str(frame["repeats"].dtype) == "Int64"
    assert frame["repeats"].isna().tolist() == [False, True, True]
    assert frame["sequence_length_tokens"].isna().all()
    best = frame.sort_values("throughput_inferences_per_second").iloc[-1]
    assert best["model"] == "resnet50"


def test_without_pandas_an_error_names_the_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(gpubench.InputError, match=r"pandas is not installed.*extra 'notebook'"):
        gpubench.load(run).to_pandas()


@pytest.mark.parametrize("suffix", [".svg", ".html", ".md", ".csv", ".json", ".parquet", ".txt"])
def test_report_writes_the_format_that_the_name_says(run: Path, suffix: str) -> None:
    file = run.parent / f"out{suffix}"
    gpubench.report(run, file)
    written = file.read_bytes()
    gpubench.load(run).report(file)
    assert file.read_bytes() == written
    if suffix == ".parquet":
        assert pq.read_table(file).num_rows == 3
    elif suffix == ".json":
        assert len(json.loads(written)) == 4  # two cells, a search and cold starts
    else:
        assert b"18.4" in written


def test_the_command_writes_the_same_parquet_file(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "--output", str(run.parent / "out.parquet")]) == 0
    assert "Parquet leaves out 1 document of cold starts" in capsys.readouterr().err
    assert pq.read_table(run.parent / "out.parquet").equals(gpubench.load(run).to_arrow())
    assert main(["report", str(run), "--format", "parquet"]) == 2
    assert "add --output FILE" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".html", ".svg", ".md", ".csv", ".json", ".txt"])
def test_the_command_and_the_function_write_the_same_file(tmp_path: Path, suffix: str) -> None:
    """Two models: their charts side by side are among the charts."""
    directory = open_run(tmp_path / "run")
    directory.check_writable()
    for number, model in enumerate(("resnet50", "bert-base")):
        for batch in (1, 2):
            rate = 10.0 * batch + number
            directory.write(
                f"{model}-{batch}", open_loop(rate, 80.0, 90.0, model=model, batch=batch)
            )
    by_command, by_function = (tmp_path / f"{name}{suffix}" for name in ("command", "function"))
    assert main(["report", str(tmp_path / "run"), "--output", str(by_command)]) == 0
    gpubench.report(tmp_path / "run", by_function)
    assert by_command.read_bytes() == by_function.read_bytes()


def test_report_writes_a_page(run: Path) -> None:
    gpubench.report([*gpubench.load(run)], run.parent / "out.html", title="Two <cells>")
    page = (run.parent / "out.html").read_text()
    assert "Two &lt;cells&gt;" in page
    assert "18.4" in page


def test_a_file_without_a_known_format_is_refused(run: Path) -> None:
    with pytest.raises(gpubench.InputError, match=r"let it end in \.md, \.html, .*\.png or \.txt"):
        gpubench.report(run, run.parent / "out.xlsx")
    with pytest.raises(gpubench.InputError, match="has no cells, and csv holds only these"):
        gpubench.load(search(50.0)).report(run.parent / "out.csv")
    with pytest.raises(gpubench.InputError, match=r"has nothing to draw\. No chart of"):
        gpubench.load(failed()).report(run.parent / "out.png")
    with pytest.raises(gpubench.GpubenchError, match="cannot be written: No such file"):
        gpubench.report(run, run.parent / "no" / "out.csv")


def test_report_is_a_module_and_a_function(run: Path) -> None:
    """Importing a file of the package gpubench.report sets that name in gpubench."""
    script = (
        "import gpubench.report.format, gpubench, sys\n"
        "from gpubench import report\n"
        "assert report is gpubench.report\n"
        f"report({str(run)!r}, {str(run.parent / 'out.md')!r})\n"
        "help(gpubench.report)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "gpubench.report(results, " in done.stdout
    assert "each_repeat" in done.stdout
    assert (run.parent / "out.md").is_file()


def test_documents_come_from_files_and_from_memory(run: Path) -> None:
    one = gpubench.load(run / "b.json")
    assert [each.throughput_per_second for each in one] == [18.4]
    gpubench.load(run).report(run.parent / "all.json", each_repeat=True)
    several = gpubench.load(run.parent / "all.json")
    assert (len(several), len(several.cold)) == (4, 1)
    assert gpubench.load(run / "search-c.json").searches[0].max_rate_per_second == 50.0
    assert len(gpubench.load([*several, search(50.0)])) == 4
    assert len(gpubench.load([run, run / "b.json", one])) == 4, "a document counts once"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "is an empty list"),
        ("{}", "is not a gpubench result"),
        ('{"schema": 99}', "has schema 99, and this gpubench reads 1"),
        ('{"decisions": []}', "is what gpubench plan wrote; give the run directory"),
        ('{"pairs": []}', "is what gpubench compare wrote"),
        ("[1, 2]", "x.json, 1 is not a gpubench result"),
        ("not json", "this is not JSON"),
    ],
)
def test_other_files_are_one_line_with_the_fix(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(gpubench.InputError) as refusal:
        gpubench.load(tmp_path / "x.json")
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gpubench.InputError, match="nothing is not a directory"):
        gpubench.load("nothing")
    with pytest.raises(gpubench.InputError, match="there is no result to load"):
        gpubench.load([])
    with pytest.raises(gpubench.InputError, match="object of type int; give a run directory"):
        gpubench.load(7)  # type: ignore[arg-type]
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(gpubench.InputError, match=r"x\.png is not JSON"):
        gpubench.load(tmp_path / "x.png")


def test_files_that_cannot_be_read_are_warnings_and_the_rest_is_loaded(run: Path) -> None:
    (run / "e.json").write_text("{")
    with pytest.warns(UserWarning, match=r"e\.json:1: this is not JSON"):
        loaded = gpubench.load(run)
    assert len(loaded) == 4
    assert len(loaded.problems) == 1


def test_loading_prices_again_and_selects(run: Path) -> None:
    priced = gpubench.load(run, instance="g4dn.xlarge,g5.xlarge", only="batch=1")
    assert [[cost.instance for cost in each.costs] for each in priced] == [
        ["g4dn.xlarge", "g5.xlarge"]
    ]
    with pytest.raises(gpubench.InputError, match=r"unknown instance 'g5\.tiny'"):
        gpubench.load(run, instance="g5.tiny")
    with pytest.raises(gpubench.InputError, match="--usd-per-hour cheap is not a price"):
        gpubench.load(run, usd_per_hour="cheap")  # type: ignore[arg-type]
    with pytest.raises(gpubench.InputError, match="--only: unknown setting 'bach'"):
        gpubench.load(run, only="bach=1")


def test_plan_takes_directories_and_what_load_returns(run: Path) -> None:
    limit = "p95:100ms"
    planned = gpubench.plan(run, limit)
    assert gpubench.load(run).plan(limit) == gpubench.plan(gpubench.load(run), limit) == planned
    assert planned.directories == (str(run),)
    (decision,) = gpubench.plan([open_loop(10.0, 80.0, 90.0), search(50.0)], limit).decisions
    assert decision.winner is not None
    assert decision.winner.rate_per_second == 50.0
    cheap = gpubench.plan(run, limit, instance="c7i.xlarge").decisions[0].winner
    assert cheap is not None
    assert cheap.cost is not None
    assert cheap.cost.instance == "c7i.xlarge"


def test_compare_takes_directories_lists_and_what_load_returns(run: Path) -> None:
    cells = gpubench.combine(gpubench.load(run))
    for a, b in ((run, str(run)), (gpubench.load(run), [*gpubench.load(run)]), (cells, cells)):
        assert len(gpubench.compare(a, b).pairs) == 2
    assert len(gpubench.load(run).compare(run).pairs) == 2


def test_a_chart_is_one_of_altair_and_can_be_saved(run: Path) -> None:
    chart = gpubench.load(run).chart("cost", objective="p95:100ms")
    assert isinstance(chart, altair.TopLevelMixin)
    chart.save(str(run.parent / "x.svg"))
    assert "<svg" in (run.parent / "x.svg").read_text()
    with pytest.raises(gpubench.InputError, match=r"have no chart 'pie'; .*trade-off"):
        gpubench.load(run).chart("pie")
    with pytest.raises(gpubench.InputError, match=r"these results have no chart\. No chart of"):
        gpubench.load(failed()).chart()
    with pytest.raises(gpubench.InputError, match="--objective '100' is not PERCENTILE:LATENCY"):
        gpubench.load(run).chart("cost", objective=100)  # type: ignore[arg-type]


class Tags(HTMLParser):
    """The tags of a document and the texts between them."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_tables(run: Path) -> None:
    loaded = gpubench.load(run)
    for shown in (
        loaded,
        loaded[0],
        loaded.searches[0],
        loaded.cold[0],
        loaded.plan("p95:100ms"),
        loaded.compare(run),
        loaded.compare(run).pairs[0],
    ):
        page = Tags(shown._repr_html_())
        assert page.tags.count("table") >= 1
        assert {"th", "td"} <= set(page.tags)
        assert "resnet50" in str(shown)
        assert "<" not in str(shown)


def test_failed_cells_and_searches_without_probes_are_shown() -> None:
    assert "measure: CUDA out of memory" in Tags(failed()._repr_html_()).text
    empty = search(None, note="no rate meets it").model_copy(update={"probes": []})
    assert "no rate meets it" in Tags(empty._repr_html_()).text
    assert "too-few-samples" in Tags(result(reasons=(TOO_FEW,))._repr_html_()).text


def test_texts_of_results_are_data_in_every_view(tmp_path: Path) -> None:
    hostile = failed(HOSTILE)
    hostile.environment.cpu = HOSTILE
    loaded = gpubench.load([hostile, *quick_start()])
    page = Tags(loaded._repr_html_())
    assert "script" not in page.tags
    assert "<script>" in page.text
    assert "\x1b" not in page.text + str(loaded)
    assert "\u202e" not in page.text + str(loaded)
    assert loaded.to_arrow()["cpu"].to_pylist()[0] == HOSTILE, "only CSV needs it escaped"


def test_a_number_that_no_column_holds_is_one_line(tmp_path: Path) -> None:
    huge = result().model_copy(deep=True)
    huge.memory.peak_host_bytes = 9_999_999_999_999_999_999
    with pytest.raises(gpubench.InputError, match="the column peak_host_bytes cannot be written"):
        gpubench.load(huge).to_arrow()


def test_a_page_has_at_most_six_charts() -> None:
    """The chart of the models takes the place of that of the stages."""
    charts = tuple(
        Chart(name=name, title=name, description=name, spec={}, data=(name,))
        for name in ("a", "b", "c", "d", "stages", "requests", "models")
    )
    every = ChartSet(charts, {chart.name: [] for chart in charts})
    shown = of_page(every)
    assert [chart.name for chart in shown.charts] == ["a", "b", "c", "d", "requests", "models"]
    assert "stages" not in shown.tables
    assert shown.remarks == (
        "No chart of the stages, because a page has at most six: --plots FOLDER draws it.",
    )
    assert of_page(ChartSet(charts[:6], {})).charts == charts[:6]
