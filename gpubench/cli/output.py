"""Where a command's output goes. Warnings never mix with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.cli.streams import flush, wrapped
from gpubench.errors import GpubenchError, shorten

if TYPE_CHECKING:
    from gpubench.report.table import Table


def emit(text: str | bytes, output: Path | None) -> None:
    """Write text or bytes to a file, or text to standard output."""
    if output is None:
        assert isinstance(text, str)
        sys.stdout.write(text)
        return
    from gpubench.files.folder import write_file

    try:
        write_file(output, text if isinstance(text, bytes) else text.encode())
    except OSError as error:
        raise GpubenchError(f"{output} cannot be written: {error.strerror}") from error


def append(text: str, path: Path) -> None:
    """Write text at the end of a file. Raises GpubenchError if that fails."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from error


def emit_sentence(text: str) -> None:
    """Show a sentence about the results on standard output."""
    from gpubench.report import escape

    emit(wrapped(escape.terminal(text), sys.stdout) + "\n", None)


def emit_tables(tables: list[Table], output: Path | None) -> None:
    """Show tables on the terminal, in its width and colours, or write them plainly to a file."""
    from gpubench.report import terminal

    if output is None:
        terminal.show(tables)
    else:
        emit(terminal.text(tables), output)


def warn(problems: Iterable[str]) -> None:
    from gpubench.report import escape

    for problem in problems:
        text = f"gpubench: warning: {shorten(escape.terminal(problem))}"
        print(wrapped(text, sys.stderr), file=sys.stderr)


def say(sentences: Iterable[str]) -> None:
    """Say something about the results on stderr."""
    from gpubench.report import escape

    with suppress(OSError):  # the results are written, whether or not anybody reads this
        for sentence in sentences:
            text = f"gpubench: {shorten(escape.terminal(sentence))}"
            print(wrapped(text, sys.stderr), file=sys.stderr)


def summarise(quiet: bool, lines: Callable[[], Iterable[str]]) -> None:
    """Say what was found on stderr, below the tables."""
    from gpubench.cli.settings import tell

    if not quiet:
        flush()
        for line in lines():
            tell(line)


def write_result(
    document: str,
    json_path: str | None,
    json_output: Path | None,
    show: Callable[[], None],
    *others: Callable[[], None],
) -> None:
    """Write the result of a command to every place that was asked for; see `write_each`.

    `--json -` prints `document` instead of what `show` shows. `json_output` is what `json_file`
    made of `json_path`.
    """

    def write_stdout() -> None:
        if json_path == "-":
            emit(document, None)
        else:
            show()
        flush()

    def write_json() -> None:
        if json_output is not None:
            emit(document, json_output)

    write_each(write_stdout, write_json, *others)


def write_each(*writes: Callable[[], None]) -> None:
    """Write a result to every place that was asked for, then raise what the first failure raised.

    A terminal that was closed and a disk that is full keep nothing from the other places.
    """
    failures = []
    for write in writes:
        try:
            write()
        except (OSError, GpubenchError) as error:
            failures.append(error)
    if failures:
        raise failures[0]
