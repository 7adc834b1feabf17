"""Flags and checks that several commands share."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpubench.cli.completion import Known, instances
from gpubench.cli.sections import Option
from gpubench.errors import InputError
from gpubench.report.formats import FORMAT_OF_SUFFIX

if TYPE_CHECKING:
    from gpubench.pricing.owned import Electricity, Owned

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

# The format of a file, by the suffix of its name. A command writes some of these formats.
FORMATS = ("terminal", "markdown", "html", "csv", "json")  # that every command writes


def format_option(formats: tuple[str, ...] = FORMATS) -> Callable[[Decorated], Decorated]:
    """The flag --format of a command that writes these formats."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(formats),
        help=f"[default: by the name of --output ({', '.join(_suffixes(formats))}), else terminal]",
    )


def _suffixes(formats: tuple[str, ...]) -> list[str]:
    return [suffix for suffix, name in FORMAT_OF_SUFFIX.items() if name in formats]


output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to this file, not to the terminal.",
)
quiet_option = click.option(
    "--quiet", cls=Option, section="Output", is_flag=True, help="No progress on stderr."
)

within_option = click.option(
    "--within",
    default="2%",
    show_default=True,
    metavar="SHARE",
    help="A difference that is certain to be smaller than this does not matter.",
)
fail_if_option = click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="GATE",
    help="Exit status 3 if it is certain that B is worse than A by more than this, for example "
    "'p95 > +5%', 'usd > +3%' or 'throughput < -5%'. Repeatable.",
)

instance_option = click.option(
    "--instance",
    multiple=True,
    type=Known(instances),
    metavar="NAME",
    help="Price the results on this instance (see gpubench prices list): NAME[@REGION][:TERM], the "
    "term being spot, 1-year or 3-year. Repeatable, or a list.",
)
usd_per_hour_option = click.option(
    "--usd-per-hour",
    type=float,
    metavar="X",
    help="Price the results at this price of an hour, in US dollars.",
)


def prices_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flag --prices. While the command runs, everything reads that file too."""

    @functools.wraps(command)
    def with_prices(*arguments: Any, prices: str | None, **flags: Any) -> Any:
        with _price_file(prices):
            return command(*arguments, **flags)

    return click.option(
        "--prices",
        cls=Option,
        section="Prices",
        type=Known(files=True),
        metavar="FILE.csv",
        help="Prices of your own, which override those that gpubench knows (see gpubench prices).",
    )(with_prices)


@contextmanager
def _price_file(path: str | None) -> Iterator[None]:
    """Name one more file in the environment, so that processes that are started read it too.

    Raises InputError if it cannot be used.
    """
    from gpubench.pricing.price_files import VARIABLE, current_catalog

    if path is None:
        yield
        return
    if not path or os.pathsep in path:
        raise InputError(
            f"--prices '{path}' cannot be used; give a file whose name does not contain "
            f"'{os.pathsep}'"
        )
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join(filter(None, (before, os.path.abspath(path))))
    try:
        current_catalog()
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@dataclass(frozen=True)
class AskedPrices:
    """What the flags of `price_options` say."""

    instances: tuple[str, ...]
    usd_per_hour: float | None
    owned: Owned | None  # None: no hardware of one's own
    electricity: Electricity | None  # None: no figures about electricity


def price_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that price results again. The command gets them as one argument, `asked`."""

    @functools.wraps(command)
    def with_prices(
        *arguments: Any,
        instance: tuple[str, ...],
        usd_per_hour: float | None,
        capital_usd: float | None,
        years: float | None,
        usd_per_kwh: float | None,
        grams_co2_per_kwh: float | None,
        pue: float | None,
        watts: float | None,
        **flags: Any,
    ) -> Any:
        from gpubench.pricing.owned import electricity, owned_hardware

        asked = AskedPrices(
            split_names(instance),
            usd_per_hour,
            owned_hardware(capital_usd, years, usd_per_kwh, pue, watts),
            electricity(usd_per_kwh, grams_co2_per_kwh, pue),
        )
        return command(*arguments, asked=asked, **flags)

    priced: Callable[..., Any] = with_prices
    for name, metavar, text in reversed(_OWNED):
        priced = click.option(
            name, cls=Option, section="Own hardware", type=float, metavar=metavar, help=text
        )(priced)
    return instance_option(usd_per_hour_option(prices_option(priced)))


_OWNED = (
    ("--capital-usd", "X", "Also price the results on hardware of your own, which cost this much."),
    ("--years", "N", "The years over which that is written off."),
    ("--usd-per-kwh", "X", "The price of electricity. Alone, it prices the measured energy."),
    ("--grams-co2-per-kwh", "G", "The carbon dioxide of electricity, for g CO2 a million."),
    ("--pue", "P", "The power of the building for each watt of the machine.  [default: 1]"),
    (
        "--watts",
        "W",
        "The power of the machine at work.  [default: the measured power of its GPUs or CPUs]",
    ),
)


def json_option(what: str) -> Callable[[Decorated], Decorated]:
    """The flag --json of a command that can write `what` as JSON."""
    return click.option(
        "--json",
        "json_path",
        cls=Option,
        section="Output",
        type=Known(("-",), files=True),
        metavar="FILE.json|-",
        help=f"Write {what} as JSON to this file, or to stdout (-) and nothing else there.",
    )


def chosen_format(
    format_name: str | None, output: Path | None, formats: tuple[str, ...] = FORMATS
) -> str:
    """The format that --format names, or else the suffix of --output.

    `formats` are those that the command writes. Raises InputError if the suffix stands for none of
    them.
    """
    if format_name is not None:
        return format_name
    if output is None or not output.suffix:
        return "terminal"
    chosen = FORMAT_OF_SUFFIX.get(output.suffix.lower())
    if chosen not in formats:
        *most, last = _suffixes(formats)
        raise InputError(
            f"--output {output}: this command does not write {output.suffix}; it writes "
            f"{', '.join(most)} and {last}, and what --format says into a file of any name"
        )
    return chosen


def check_suffix(path: Path, flag: str, suffix: str, format_name: str) -> None:
    """Raises InputError if the name of a file ends in another suffix than this one.

    A name without a suffix is accepted, such as /dev/stderr.
    """
    if path.suffix and path.suffix.lower() != suffix:
        raise InputError(
            f"{flag} {path}: the file will be {format_name}; give it a name that ends in {suffix}"
        )


def split_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """A repeatable flag whose values may be lists too: `--instance a,b --instance c`."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def check_output_file(path: Path | None, flag: str = "--output") -> None:
    """Raises InputError if a file cannot be written. It is called before any work starts.

    A file that did not exist does not exist afterwards either.
    """
    if path is None:
        return
    try:
        existed = path.exists()
        if path.is_socket():
            raise InputError(f"{flag} {path} is a socket; choose another file")
        if existed and not path.is_file() and not path.is_dir():
            return  # a device or a pipe, which may be waiting to be opened once
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise InputError(
            f"{flag} {path} cannot be written: {error.strerror}; choose another file"
        ) from None


def json_file(json_path: str | None) -> Path | None:
    """The file that --json names. None for standard output, and without the flag.

    Raises InputError if the file cannot be written.
    """
    path = None if json_path in {None, "-"} else Path(json_path or "")
    if path is not None:
        check_suffix(path, "--json", ".json", "JSON")
    check_output_file(path, "--json")
    return path


def make_folder(path: Path, flag: str = "--output") -> None:
    """Make a folder. Raises InputError if no files can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {path} cannot be written: {error.strerror}; choose another folder"
        ) from None
