"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trace_rules
from factories import G4DN, G5, failed, quick_start, repeated, result, samples
from planning_results import written

from gpubench.cli import program as cli
from gpubench.results.run_directory import open_run, repeat_name

HEAVY = ("torch", "transformers", "numpy", "pyarrow", "fsspec", "scipy", "altair", "vl_convert")


@pytest.fixture
def run_directory(tmp_path: Path) -> str:
    run = open_run(tmp_path / "run")
    run.check_writable()
    for number, cell in enumerate(quick_start()):
        run.write(f"{number:016x}", cell)
    return run.url


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing else may have been printed."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gpubench: ")
    return captured.err.strip()


def test_report_shows_the_table(run_directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", run_directory]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "bert-base" in captured.out
    assert "P95" in captured.out
    assert "$/million" in captured.out


def test_report_prices_old_results_again(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", run_directory, "--format", "json"]
    argv += ["--instance", "c7a.4xlarge,c7i.8xlarge", "--instance", "m7i.4xlarge"]
    assert cli.main([*argv, "--usd-per-hour", "0.25"]) == 0
    priced = json.loads(capsys.readouterr().out)
    for cell in priced:
        names = [cost["instance"] for cost in cell["costs"]]
        assert names == ["c7a.4xlarge", "c7i.8xlarge", "m7i.4xlarge", None]
    # The stored results keep the prices that they were measured with.
    [cost] = open_run(run_directory).read_all().cells[0][1].costs
    assert cost.instance == "c7i.xlarge"


@pytest.fixture
def repeats_directory(tmp_path: Path) -> str:
    run = open_run(tmp_path / "repeats")
    run.check_writable()
    for number, cell in enumerate(repeated(96.0, None, 100.0, 104.0), 1):
        run.write(repeat_name("a", number), cell)
    return run.url


def test_report_combines_the_repeats_of_a_cell(
    repeats_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", repeats_directory, "--format", "json"]) == 0
    [cell] = json.loads(capsys.readouterr().out)
    assert (cell["repeats"]["count"], cell["repeats"]["failed"]) == (3, 1)
    assert cell["repeats"]["throughput_per_second"]["interval"] == cell["throughput_interval"]
    assert cell["repeat"] is None
    assert cli.main(["report", repeats_directory, "--instance", "c7i.xlarge"]) == 0
    assert "3 (1 failed)" in capsys.readouterr().out


def test_report_shows_each_repeat_if_asked(
    repeats_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", repeats_directory, "--each-repeat"]
    assert cli.main([*argv, "--format", "json"]) == 0
    cells = json.loads(capsys.readouterr().out)
    assert [cell["repeat"]["number"] for cell in cells] == [1, 2, 3, 4]
    assert {cell["repeats"] for cell in cells} == {None}
    assert cli.main(argv) == 0
    assert "failed in measure: it failed" in capsys.readouterr().out


def test_report_shows_the_percentiles_that_are_asked_for(
    repeats_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", repeats_directory, "--format", "csv", "--percentiles", "90,97.5"]
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert "latency_p90_ms" in captured.out
    assert "no P97.5 of 3 cells" in captured.err
    assert cli.main(["report", repeats_directory, "--percentiles", "90,99.9"]) == 0
    captured = capsys.readouterr()
    assert "P90" in captured.out
    assert "P95" not in captured.out
    assert captured.err == ""


def test_percentiles_that_are_none_are_refused(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", run_directory, "--percentiles", "50,150"]) == cli.BAD_INPUT
    assert "'150' is not a percentile; write numbers between 0 and 100" in only_line(capsys)


def test_report_csv_holds_full_precision(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", run_directory, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    results = [cell for _, cell in open_run(run_directory).read_all().cells]
    assert [float(row["usd_per_million_inferences"]) for row in rows] == [
        cell.costs[0].usd_per_million for cell in results
    ]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("t.md", "**machine**"),
        ("t.html", "<!DOCTYPE html>"),
        ("t.csv", "cell,"),
        ("t.json", "[\n"),
        ("t.txt", "machine "),
    ],
)
def test_the_name_of_the_output_file_says_its_format(
    name: str,
    start: str,
    run_directory: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / name
    assert cli.main(["report", run_directory, "--output", str(output)]) == 0
    assert output.read_text().startswith(start)
    assert capsys.readouterr().out == ""


def test_charts_are_written_beside_any_format(
    run_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "charts"
    assert cli.main(["report", run_directory, "--format", "csv", "--plots", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("cell,")
    names = {path.name for path in folder.iterdir()}
    assert {"trade-off.svg", "cost.svg", "scaling.svg", "instances.svg"} <= names
    assert (folder / "cost.svg").read_text().startswith("<svg")


def test_markdown_ends_with_the_charts(run_directory: str, tmp_path: Path) -> None:
    page, folder = tmp_path / "a page.md", tmp_path / "the charts"
    flags = ["--output", str(page), "--plots", str(folder), "--plots-format", "png"]
    assert cli.main(["report", run_directory, *flags]) == 0
    files = re.findall(r"!\[[^\n]*\]\((.*)\)", page.read_text())
    assert "the%20charts/trade-off.png" in files
    assert sorted(files) == sorted(f"the%20charts/{path.name}" for path in folder.iterdir())
    assert (folder / "trade-off.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "start"), [("x.svg", b"<svg"), ("x.png", b"\x89PNG")])
def test_one_picture_has_all_charts(
    name: str, start: bytes, run_directory: str, tmp_path: Path
) -> None:
    assert cli.main(["report", run_directory, "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("flags", [[], ["--format", "html"], ["--instance", "no-such"]])
def test_a_report_that_is_refused_leaves_no_folder_for_plots_behind(
    flags: list[str], run_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plots"
    read = run_directory if "--instance" in flags else str(tmp_path / "missing")
    assert cli.main(["report", read, "--plots", str(folder), *flags]) == cli.BAD_INPUT
    only_line(capsys)
    assert not folder.exists()


def test_drawing_needs_no_torch(run_directory: str) -> None:
    program = (
        "import sys; from gpubench.cli.program import main; "
        "status = main(['report', sys.argv[1], '--format', 'html']); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, run_directory], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_compare_writes_its_table_as_a_page_too(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", run_directory, run_directory, "--format", "html"]) == 0
    assert '<th scope="col" class="right"><span>B/A' in capsys.readouterr().out


def test_report_of_a_half_broken_directory_shows_the_rest_and_names_the_broken_file(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(run_directory) / "0000000000000000.json").write_text("{")
    assert cli.main(["report", run_directory]) == 0
    captured = capsys.readouterr()
    assert "resnet50" in captured.out
    assert captured.err.count("\n") == 1
    assert "0000000000000000.json" in captured.err


def test_compare_puts_two_directories_side_by_side(
    run_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = open_run(tmp_path / "other")
    other.check_writable()
    for number, cell in enumerate(quick_start(instance="c7a.4xlarge")):
        other.write(f"{number:016x}", cell)
    assert cli.main(["compare", run_directory, other.url, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["pairs"]) == 9
    for pair in document["pairs"]:
        assert pair["usd_per_million"]["b_over_a"] == pytest.approx(0.82112 / 0.1785)


def test_prices_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prices", "list", "--provider", "aws", "--accelerator", "A10G"]) == 0
    listed = capsys.readouterr().out
    assert "g5.4xlarge" in listed
    assert "g4dn.4xlarge" not in listed
    assert cli.main(["prices", "show", "g2-standard-4"]) == 0
    shown = capsys.readouterr().out
    assert "$0.706832/h" in shown
    assert "2026-08-03" in shown


def test_paths_prints_the_one_folder_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ModuleType("gpubench.paths")
    monkeypatch.setattr(paths, "cmake_dir", lambda: Path("/lib/cmake/gpubench"), raising=False)
    monkeypatch.setattr(paths, "include_dir", lambda: Path("/include"), raising=False)
    monkeypatch.setitem(sys.modules, "gpubench.paths", paths)
    monkeypatch.setattr("gpubench.paths", paths, raising=False)
    assert cli.main(["paths", "--cmake"]) == 0
    assert cli.main(["paths", "--include"]) == 0
    assert capsys.readouterr().out == "/lib/cmake/gpubench\n/include\n"
    assert cli.main(["paths"]) == cli.BAD_INPUT
    assert "either --cmake or --include" in only_line(capsys)


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gpubench ")


@pytest.mark.parametrize(
    "argv", [[], ["--help"], ["report", "--help"], ["prices"], ["prices", "list", "--help"]]
)
def test_help_goes_to_standard_output(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert "Usage: gpubench" in captured.out
    assert captured.err == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    out = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert f"\n  {command} " in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["reprot"], "unknown command 'reprot'; did you mean report"),
        (["prices", "lst"], "unknown command 'lst'; did you mean list?"),
        (["--versoin"], "unknown flag --versoin; did you mean --version?"),
        (["report", "RUN", "--formt", "csv"], "unknown flag --formt; did you mean --format"),
        (["report", "RUN", "-x"], "unknown flag -x; see gpubench report --help"),
        (["report"], "Missing argument 'DIR...'; see gpubench report --help"),
        (["report", "RUN", "RUN", "--trace", "t.json"], "give only the DIR in which it is"),
        (["report", "RUN", "--format", "pdf"], "'pdf' is not one of"),
        (["report", "RUN", "--format"], "requires an argument"),
        (["report", "RUN", "--usd-per-hour", "x"], "'x' is not a valid float"),
        (["report", "RUN", "--usd-per-hour", "-1"], "--usd-per-hour -1.0 is not a price"),
        (["report", "RUN", "--usd-per-hour", "nan"], "--usd-per-hour nan is not a price"),
        (["report", "RUN", "--instance", "g5.4xlrage"], "did you mean g5.4xlarge"),
        (["report", "RUN", "--output", "RUN"], "--output RUN cannot be written: Is a directory"),
        (["report", "RUN", "--output", "RUN/no/t.md"], "No such file or directory"),
        (["report", "RUN", "--plots", "RUN/0000000000000000.json"], "is a file"),
        (["report", "RUN", "--plots-format", "png"], "add --plots FOLDER"),
        (["report", "RUN", "--format", "png"], "add --output FILE"),
        (["report", "RUN", "--plots", "RUN/0000000000000000.json/x"], "Not a directory; choose"),
        (["report", "missing"], "missing is not a directory; measure with gpubench sweep"),
        (["report", "odd://x"], "odd://x: "),
        (["compare", "RUN"], "compare needs two run directories, A and B, or one"),
        (["compare", "RUN", "missing"], "missing is not a directory"),
        (["prices", "show", "g5.4xlarg"], "did you mean g5.4xlarge"),
        (["prices", "list", "--provider", "asw"], "did you mean aws?"),
    ],
)
def test_bad_input_is_one_line_that_names_the_fix(
    argv: list[str],
    message: str,
    run_directory: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [part.replace("RUN", run_directory) for part in argv]
    assert cli.main(argv) == cli.BAD_INPUT
    assert message.replace("RUN", run_directory) in only_line(capsys)


def test_an_output_file_that_cannot_be_written_is_found_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["report", str(tmp_path / "missing"), "--output", str(tmp_path / "no" / "t.md")]
    assert cli.main(argv) == cli.BAD_INPUT
    assert "t.md cannot be written" in only_line(capsys)


def test_checking_an_output_file_leaves_it_as_it_was(tmp_path: Path) -> None:
    existing = tmp_path / "t.md"
    existing.write_text("kept")
    for output in (existing, tmp_path / "new.md"):
        assert cli.main(["report", str(tmp_path / "missing"), "--output", str(output)]) == 2
    assert existing.read_text() == "kept"
    assert not (tmp_path / "new.md").exists()


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize("name", ["x.pdf", "x.xlsx", "x.ARROW", "x.docx", "x.tex"])
def test_a_name_that_promises_another_format_is_refused_before_anything_is_read(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [str(tmp_path / "missing")] * (2 if command == "compare" else 1)
    assert cli.main([command, *missing, "--output", str(tmp_path / name)]) == 2
    line = only_line(capsys)
    own = ", .parquet, .svg, .png" if command == "report" else ""
    assert f"it writes .md, .html, .csv, .json{own} and .txt" in line
    assert "missing" not in line.replace(name, "")
    assert not (tmp_path / name).exists()


def test_a_format_that_is_named_goes_into_a_file_of_any_name(
    run_directory: str, tmp_path: Path
) -> None:
    file = tmp_path / "tmp.x7Qz"
    asked = ["report", run_directory, "--format", "csv", "--output", str(file)]
    assert cli.main(asked) == 0
    assert file.read_text().startswith("cell,")


def test_an_interrupt_is_130_and_a_failure_is_1(
    run_directory: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpubench.errors import GpubenchError

    def raising(error: BaseException) -> None:
        def fail(_: object) -> None:
            raise error

        monkeypatch.setattr("gpubench.results.read.open_results", fail)

    raising(KeyboardInterrupt())
    assert cli.main(["report", run_directory]) == 130
    raising(GpubenchError("the disk\nis full"))
    capsys.readouterr()
    assert cli.main(["report", run_directory]) == cli.FAILED
    assert only_line(capsys) == "gpubench: the disk is full"


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["report", "RUN"], ["compare", "RUN", "RUN"], ["prices", "list"], ["--version"]],
    ids=lambda argv: argv[0],
)
def test_reading_commands_load_nothing_heavy(argv: list[str], run_directory: str) -> None:
    argv = [part.replace("RUN", run_directory) for part in argv]
    program = (
        "import sys; from gpubench.cli.program import main; status = main(sys.argv[1:]); "
        f"sys.exit(status or sum(name in sys.modules for name in {HEAVY}))"
    )
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_failed_cell_is_in_the_report_and_the_report_itself_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(tmp_path)
    run.write("a", result(machine=G5))
    run.write("b", failed("CUDA out of memory", machine=G5, batch=64))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert "CUDA out of memory" in capsys.readouterr().out


def test_several_directories_make_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directories = [
        written(tmp_path / name, result(machine=machine))
        for name, machine in (("g5", G5), ("g4dn", G4DN))
    ]
    assert cli.main(["report", *directories]) == 0
    shown = capsys.readouterr().out
    assert "A10G" in shown
    assert "T4" in shown


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_report_writes_a_trace_of_one_cell(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(tmp_path / "run")
    run.check_writable()
    run.write("ab", result(), samples(200))
    run.write("ac", failed())
    file = tmp_path / name
    assert cli.main(["report", run.url, "--trace", str(file), "--cell", "ab"]) == 0
    captured = capsys.readouterr()
    assert "resnet50" in captured.out
    assert captured.err == (
        f"gpubench: the trace of ab has 200 requests; open {file} at https://ui.perfetto.dev\n"
    )
    data = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    tracks = trace_rules.read(data.decode()).slices
    names = {each.name for each in tracks["workers/worker 0"]}
    assert names == {"batch", "batching", "submit", "compute"}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--trace", "t.json"], "has 2 cells: ab (model resnet50, precision fp32, batch 1, "),
        (["--trace", "t.json", "--cell", "x"], "--cell x: no key begins so; "),
        (["--trace", "t.json", "--cell", "ac"], "no sample file ac.parquet: it failed in measure"),
        (["--trace", "t.perfetto"], "give it a name that ends in .json or .json.gz"),
        (["--trace", "no/such/t.json"], "cannot be written: No such file or directory"),
        (["--cell", "ab"], "--cell is for --trace; add --trace FILE.json"),
    ],
)
def test_a_trace_that_cannot_be_written(
    flags: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_run("run")
    run.check_writable()
    run.write("ab", result(), samples(200))
    run.write("ac", failed(batch=2))
    assert cli.main(["report", "run", *flags]) == cli.BAD_INPUT
    assert problem in only_line(capsys)
    assert not Path("t.json").exists()
