"""Run directories: incomplete files are not used, and no measured result is lost."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import STAMPS, failed, result, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpubench.errors import GpubenchError, InputError
from gpubench.files import folder
from gpubench.files.folder import write_file
from gpubench.results.parquet import from_parquet, to_parquet
from gpubench.results.run_directory import open_run, temporary_folder, write_samples
from gpubench.results.samples import Samples


@st.composite
def any_samples(draw: st.DrawFn) -> Samples:
    count = draw(st.integers(0, 30))
    has_events = draw(st.booleans())
    columns = {name: draw(hnp.arrays(np.int64, count)) for name in STAMPS}
    return Samples(
        **columns,
        worker=draw(hnp.arrays(np.int32, count)),
        device_ns=draw(hnp.arrays(np.int64, (count, 4))) if has_events else None,
        filled=draw(st.booleans()),
        unfinished_scheduled_ns=draw(hnp.arrays(np.int64, draw(st.integers(0, 5)))),
    )


def assert_same(read: Samples | None, written: Samples) -> None:
    assert read is not None
    for name in (*STAMPS, "worker", "unfinished_scheduled_ns"):
        column, original = getattr(read, name), getattr(written, name)
        assert column.dtype == original.dtype
        np.testing.assert_array_equal(column, original)
    assert read.filled == written.filled
    assert (read.device_ns is None) == (written.device_ns is None)
    if read.device_ns is not None and written.device_ns is not None:
        np.testing.assert_array_equal(read.device_ns, written.device_ns)


@settings(deadline=None)  # the first example pays for the import of pyarrow
@given(any_samples())
def test_samples_are_the_same_after_parquet(written: Samples) -> None:
    assert_same(from_parquet(to_parquet(written), "test"), written)


def test_a_request_takes_a_few_bytes() -> None:
    count = 100_000
    assert len(to_parquet(samples(count))) < 2 * count


def test_the_sample_file_says_what_its_columns_are(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_samples(tmp_path / "run.parquet", samples(3, unfinished=2))
    table = pq.read_table(tmp_path / "run.parquet")
    assert table.column_names == [
        "scheduled_ns",
        "opened_ns",
        "departed_ns",
        "submitted_ns",
        "completed_ns",
        "worker",
        "batch",
        "id",
    ]
    assert table["scheduled_ns"].null_count == 0
    assert table["completed_ns"].null_count == 2


@pytest.mark.parametrize("scheme", ["local", "file", "memory"])
def test_a_cell_is_read_as_it_was_written(scheme: str, tmp_path: Path) -> None:
    url = {
        "local": str(tmp_path / "deep" / "run"),
        "file": f"file://{tmp_path}/run",
        "memory": f"memory://{tmp_path.name}/run",
    }[scheme]
    run = open_run(url)
    run.check_writable()
    cell, stamps = result(), samples(10)
    assert not run.has("cell")
    run.write("cell", cell, stamps)

    again = open_run(url)
    assert again.has("cell")
    contents = again.read_all()
    [(key, read)] = contents.cells
    assert key == "cell"
    assert read.sample_file is not None
    assert read.sample_file.rows == 10
    assert read.model_copy(update={"sample_file": None}) == cell
    assert contents.problems == []
    assert_same(again.read_samples("cell"), stamps)


def test_the_result_is_written_after_its_samples(tmp_path: Path) -> None:
    # A directory has the name of the sample file. So the result must not be written either.
    run = open_run(tmp_path)
    (tmp_path / "cell.parquet").mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        run.write("cell", result(), samples(10))
    assert not (tmp_path / "cell.json").exists()
    assert not run.has("cell")


def test_an_interrupted_write_keeps_the_old_result_and_leaves_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(tmp_path)
    run.write("cell", result(throughput=1.0))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.write("cell", result(throughput=2.0))
    [(_, kept)] = run.read_all().cells
    assert kept.throughput_per_second == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    """Also /dev/null, which other programs need."""
    (tmp_path / "link").symlink_to("target")
    write_file(tmp_path / "link", b"whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"whole"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", b"piped")
    assert (tmp_path / "pipe").is_fifo()
    assert os.read(reader, 100) == b"piped"
    os.close(reader)


def test_a_failed_cell_is_kept_and_measured_again(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.write("cell", failed("out of memory"))
    assert not run.has("cell")
    [(_, kept)] = run.read_all().cells
    assert kept.error is not None
    assert kept.error.message == "out of memory"
    assert run.read_samples("cell") is None


def test_cells_come_in_the_order_in_which_they_were_measured(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.write("aaa", result(time="2026-11-21T12:00:00Z"))
    run.write("bbb", result(time="2026-11-21T11:00:00Z"))
    assert [key for key, _ in run.read_all().cells] == ["bbb", "aaa"]


@pytest.mark.parametrize(
    "damage", [b"", b'{"schema": 1', b"\xff\xfe", b"[]", b'{"schema": 99}'], ids=repr
)
def test_a_damaged_result_is_named_and_hides_no_other(tmp_path: Path, damage: bytes) -> None:
    run = open_run(tmp_path)
    run.write("good", result())
    (tmp_path / "bad.json").write_bytes(damage)
    contents = run.read_all()
    assert [key for key, _ in contents.cells] == ["good"]
    [problem] = contents.problems
    assert "bad.json" in problem
    assert "\n" not in problem
    if damage in {
        b"[]",
        b'{"schema": 99}',
    }:  # complete documents of another kind are not overwritten
        with pytest.raises(InputError, match=r"bad.json .*; move it away, or choose another"):
            run.has("bad")
    else:
        assert not run.has("bad")


def test_a_result_without_read_permission_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(tmp_path)
    run.write("a", result())

    def refused(path: Path, *_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder, "read_regular", refused)
    with pytest.raises(InputError, match=r"a.json cannot be read: Permission denied; choose"):
        run.has("a")


def test_a_directory_of_nothing_but_damaged_results_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text("{")
    with pytest.raises(InputError, match=r"one\.json:1: .*and 1 more like it"):
        open_run(tmp_path).read_all()


def test_a_result_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    document = json.loads(result().to_json()) | {"schema": 2}
    (tmp_path / "new.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="schema 2"):
        open_run(tmp_path).read_all()


def test_a_damaged_sample_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cell.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"cell\.parquet is not a sample file"):
        open_run(tmp_path).read_samples("cell")


def test_what_is_no_run_directory_says_how_to_make_one(tmp_path: Path) -> None:
    for url in (str(tmp_path / "missing"), "memory://missing/run"):
        with pytest.raises(InputError, match="gpubench sweep --output"):
            open_run(url).read_all()
    with pytest.raises(InputError, match="holds no results"):
        open_run(tmp_path).read_all()


def test_a_directory_that_cannot_be_written_is_refused_before_work_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written: Not a directory; choose another"):
        open_run(tmp_path / "file" / "run").check_writable()


def test_checking_a_directory_leaves_nothing_in_it(tmp_path: Path) -> None:
    open_run(tmp_path / "run").check_writable()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_url_of_an_unknown_kind_is_explained() -> None:
    with pytest.raises(InputError, match="s3://bucket/dir"):
        open_run("nonsense://bucket/run")


def a_run(path: Path, key: str = "cell") -> Path:
    open_run(path).write(key, result(), samples(200))
    assert open_run(path).has(key)
    return path


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "cut", "changed", "of another cell", "link"]
)
def test_a_cell_whose_samples_are_not_those_written_with_it_is_measured_again(
    tmp_path: Path, damage: str
) -> None:
    file = a_run(tmp_path) / "cell.parquet"
    data = file.read_bytes()
    match damage:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(data[:-1])
        case "changed":
            file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "of another cell":
            file.write_bytes(to_parquet(samples(200, first_ns=5)))
        case "link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
    assert not open_run(tmp_path).has("cell")
    if damage != "missing":
        with pytest.raises(InputError, match=r"cell.parquet (is not the file that|cannot be read)"):
            open_run(tmp_path).read_samples("cell")


def test_a_cell_whose_document_names_no_sample_file_is_measured_again_if_rows_are_missing(
    tmp_path: Path,
) -> None:
    a_run(tmp_path)
    document = json.loads((tmp_path / "cell.json").read_text())
    del document["sample_file"]
    (tmp_path / "cell.json").write_text(json.dumps(document))
    assert open_run(tmp_path).has("cell")
    (tmp_path / "cell.parquet").write_bytes(to_parquet(samples(100)))  # of its 130
    assert not open_run(tmp_path).has("cell")
    (tmp_path / "cell.parquet").unlink()
    assert not open_run(tmp_path).has("cell")


def test_a_planted_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("cell.json", "cell.parquet"):
        (run / name).symlink_to(tmp_path / "precious")
    assert not open_run(run).has("cell")
    a_run(run)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (run / "cell.json").is_symlink()
    assert not (run / "cell.parquet").is_symlink()


def test_special_files_are_named_and_never_opened(tmp_path: Path) -> None:
    a_run(tmp_path)
    (tmp_path / "link.json").symlink_to("cell.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "large.json").write_bytes(b" " * (5 << 20))
    contents = open_run(tmp_path).read_all()
    assert [key for key, _ in contents.cells] == ["cell"]
    assert [problem.partition("cannot be read: ")[2] for problem in contents.problems] == [
        "it is larger than 4 MiB, the limit",
        "it is a link, and links are not followed here; give a regular file",
        "it is a named pipe; give a regular file",
        "it is a link, and links are not followed here; give a regular file",
    ]


def test_a_command_that_needs_a_directory_alone_has_it_alone(tmp_path: Path) -> None:
    with open_run(tmp_path).locked():
        with (
            pytest.raises(
                InputError, match=rf"another command writes to .*: process {os.getpid()} on"
            ),
            open_run(tmp_path).locked(),
        ):
            pytest.fail("two hold it")
        assert (tmp_path / ".gpubench-lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".gpubench-lock").write_text("process 1 on a machine that is no more")
    with open_run(tmp_path).locked():  # nobody holds it: the kernel knows
        pass


def test_sweeps_share_a_directory_and_a_search_has_it_alone(tmp_path: Path) -> None:
    with open_run(tmp_path).locked(shared=True):
        with open_run(tmp_path).locked(shared=True):
            pass
        assert (tmp_path / ".gpubench-lock").exists(), "the last one removes it"
        with pytest.raises(InputError, match="another command writes to"):
            open_run(tmp_path).locked().__enter__()
    assert list(tmp_path.iterdir()) == []
    with (
        open_run(tmp_path).locked(),
        pytest.raises(InputError, match="another command writes to"),
    ):
        open_run(tmp_path).locked(shared=True).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_what_another_sweep_is_writing_is_not_removed(tmp_path: Path) -> None:
    with open_run(tmp_path).locked(shared=True):
        writing = tmp_path / ".0123456789abcdef.json.deadbeef.tmp"
        writing.write_text("x")
        with open_run(tmp_path).locked(shared=True):
            assert writing.exists()
    with open_run(tmp_path).locked(shared=True):
        assert not writing.exists()


def test_a_remote_directory_is_locked_by_a_lease(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/locked"
    with open_run(url).locked():
        assert [name[:7] for name in open_run(url).file_names()] == [".lease-"]
        with open_run(url).locked(shared=True):
            pass
    assert open_run(url).file_names() == []


def test_what_cannot_be_stored_is_kept_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    run = open_run(tmp_path / "run")
    run.check_writable()
    assert not run.has("cell")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run.folder, "write", full)
    with pytest.raises(
        GpubenchError, match=r"run cannot be written: No space left on device; what was measured"
    ) as failed:
        run.write("cell", result(), samples(10))
    [folder] = kept.iterdir()
    assert f"is in {folder}: copy its files there" in str(failed.value)
    assert {path.name for path in folder.iterdir()} == {"cell.json", "cell.parquet"}
    for path in folder.iterdir():
        path.rename(tmp_path / "run" / path.name)
    assert open_run(tmp_path / "run").has("cell")

    monkeypatch.setattr("gpubench.results.run_directory.write_file", full)
    with pytest.raises(GpubenchError, match=r"is lost: .*No space left on device"):
        run.write("cell", result(), samples(10))


def test_a_planted_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for plant in (lambda lock: lock.symlink_to("precious"), os.mkfifo, Path.mkdir):
        lock = tmp_path / ".gpubench-lock"
        plant(lock)
        with pytest.raises(InputError, match="cannot be locked"), open_run(tmp_path).locked():
            pytest.fail("it is held")
        lock.rmdir() if lock.is_dir() else lock.unlink()
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["cell.json", "cell.parquet"])
def test_a_folder_in_place_of_a_file_is_reported_before_anything_is_measured(
    tmp_path: Path, name: str
) -> None:
    (a_run(tmp_path) / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name} cannot be read: it is a folder"):
        open_run(tmp_path).has("cell")


def test_what_a_killed_sweep_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    key = "0123456789abcdef"
    left = [f".{key}.json.deadbeef.tmp", f".{key}.parquet.00000000.tmp"]
    kept = [".notes.tmp", f"{key}.json.deadbeef.tmp", ".report.html.deadbeef.tmp", f".{key}.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("x")
    (tmp_path / f".{key}.json.11111111.tmp").symlink_to(tmp_path / ".notes.tmp")
    with open_run(tmp_path).locked():
        pass
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {*kept, f".{key}.json.11111111.tmp"}


def test_a_result_that_another_process_has_written_meanwhile_is_kept(tmp_path: Path) -> None:
    for url in (str(tmp_path), f"memory://{tmp_path.name}/other"):
        late = open_run(url)
        assert not late.has("cell")
        open_run(url).write("cell", result(throughput=1.0), samples(10))
        with pytest.raises(GpubenchError, match=r"another process has written .*cell.json"):
            late.write("cell", result(throughput=2.0), samples(20))
        [(_, kept)] = open_run(url).read_all().cells
        assert kept.throughput_per_second == 1.0
        stamps = open_run(url).read_samples("cell")
        assert stamps is not None
        assert len(stamps) == 10


def packed(**changes: object) -> bytes:
    """A sample file of ten rows, with other columns, as another program may write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = samples(10)
    columns = {name: getattr(whole, name) for name in (*STAMPS[:5], "worker", *STAMPS[5:])}
    columns |= changes
    columns = {name: column for name, column in columns.items() if column is not None}
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out, compression="zstd", use_dictionary=False)
    return bytes(out.getvalue())


def damaged_parquets() -> dict[str, bytes]:
    import pyarrow as pa

    ten = np.arange(10)
    lists = pa.array([[1]] * 10)
    return {
        "a column too few": packed(batch=None),
        "a column too many": packed(more=ten),
        "a text": packed(batch=["x"] * 10),
        "a fraction": packed(scheduled_ns=ten * 0.5),
        "short numbers": packed(batch=ten.astype(np.int32)),
        "a list": packed(batch=lists),
        "half of the device's stamps": packed(e0_ns=ten, e1_ns=ten),
        "a stamp that lacks": packed(departed_ns=pa.array([None, *range(9)], pa.int64())),
        "none at all": b"PAR1PAR1",
        "cut": packed()[:-9],
        "a text file": b"scheduled_ns,opened_ns",
        "a damaged page": packed()[:60] + b"\xff" * 40 + packed()[100:],
    }


@pytest.mark.parametrize("damage", damaged_parquets())
def test_a_sample_file_is_checked_against_its_columns(damage: str) -> None:
    with pytest.raises(InputError, match=r"^run.parquet is not a sample file: .*measure the cell"):
        from_parquet(damaged_parquets()[damage], "run.parquet")


def test_a_small_file_of_very_many_rows_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = to_parquet(samples(1_000_000))
    assert len(bomb) < 300_000
    assert len(from_parquet(bomb, "bomb")) == 1_000_000
    monkeypatch.setattr("gpubench.results.parquet._memory_bytes", lambda: 100 << 20)
    with pytest.raises(InputError, match=r"unpacked, it would need 0.3 GB"):
        from_parquet(bomb, "bomb")


def test_a_page_that_claims_more_than_its_rows_need_is_not_unpacked() -> None:
    import pyarrow.parquet as pq

    data = bytearray(packed())
    from_parquet(bytes(data), "whole")
    start = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).data_page_offset
    place = data.index(b"\x15", start + 1)  # the second field: what the page is once unpacked
    assert data[place + 1] >= 128  # the first of two bytes
    data[place + 1 : place + 3] = b"\xfe\x7f"  # 8,191 bytes, the largest value of two bytes
    with pytest.raises(InputError, match="it holds more than its rows need"):
        from_parquet(bytes(data), "bomb")


def read_damaged_footers() -> None:
    """In a separate process, because some calls of the library end the process."""
    whole = to_parquet(samples(50, 2))
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(start, start + 400):
        for change in (1, 4, 16, 128):
            data = bytearray(whole)
            data[place] ^= change
            with contextlib.suppress(InputError):
                from_parquet(bytes(data), "run.parquet")


def test_no_damaged_sample_file_ends_the_process() -> None:
    child = multiprocessing.get_context("forkserver").Process(target=read_damaged_footers)
    child.start()
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("zip://run.zip", "gpubench cannot use zip://"),
        ("ftp://host/run", "gpubench cannot use ftp://"),
        ("reference://x", "gpubench cannot use reference://"),
        ("simplecache::s3://bucket/run", "gpubench cannot use simplecache::s3://"),
        ("http://host/run", "gpubench cannot use http://"),
        ("file://", "write the whole path"),
        ("file://run", "write the whole path"),
        ("", "is empty"),
        ("  ", "is empty"),
    ],
)
def test_a_url_of_an_unsupported_store_is_refused(url: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        open_run(url)


def test_a_temporary_folder_is_removed_at_the_end() -> None:
    with temporary_folder() as folder:
        open_run(folder).write("cell", result())
    assert not Path(folder).exists()
    with pytest.raises(InputError, match=r"^it is wrong$"), temporary_folder() as folder:
        raise InputError("it is wrong")
    assert not Path(folder).exists()
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        raise KeyboardInterrupt
    assert not Path(folder).exists()


def test_what_was_measured_before_an_error_stays_in_the_temporary_folder() -> None:
    folders = []

    def measure() -> None:
        with temporary_folder() as folder:
            folders.append(folder)
            open_run(folder).write("cell", result())
            raise GpubenchError("a batch hung")

    with pytest.raises(GpubenchError) as caught:
        measure()
    (folder,) = folders
    assert str(caught.value) == f"a batch hung; what was measured is in {folder}"
    assert len(open_run(folder).read_all().cells) == 1
    shutil.rmtree(folder)
