"""`gpubench cold`: the cold start of a configuration, in fresh processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.cold_url import (
    UrlFlags,
    measure_function,
    refuse_with_url,
    refuse_without_url,
    url_options,
)
from gpubench.cli.completion import FolderParam
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import Decorated, json_file, json_option, prices_option, quiet_option
from gpubench.cli.output import emit_tables, write_result
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import SECTIONS, given, setting_option, tell
from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.report.cold import cold_tables, seconds_text
from gpubench.report.format import count, elapsed, share
from gpubench.results.cold_result import NOT_DROPPED
from gpubench.spec.data_sizes import parse_bytes, parse_bytes_per_second
from gpubench.spec.durations import parse_duration
from gpubench.spec.parse import make_spec
from gpubench.system.interrupts import finish

if TYPE_CHECKING:
    from gpubench.results.cold_result import ColdResult, ColdStart, ContainerImage

# The settings that have an influence on a start.
_SETTINGS = (
    *(name for name in SECTIONS["Model"] if not name.startswith("service")),
    *("batch", "seed", "device", "threads", "cpus", "allow_emulated", "instance", "usd_per_hour"),
)


def _settings(command: Decorated) -> Decorated:
    for name in reversed(_SETTINGS):
        command = setting_option(name)(command)
    return command


def _option(name: str, metavar: str, text: str, **details: Any) -> Callable[[Decorated], Decorated]:
    return click.option(name, cls=Option, section="Start", metavar=metavar, help=text, **details)


@click.command("cold", cls=Command)
@_option(
    "--repeats",
    "N",
    "Starts to measure. With --url: bursts of calls. [default: 20; with --url 1]",
    type=int,
)
@_option(
    "--page-cache",
    "[warm|cold|both]",
    "Whether the files are in memory before a start. cold drops them from the page cache first, "
    "and checks it. [default: warm]",
    type=click.Choice(["warm", "cold", "both"]),
)
@_option(
    "--build-cache",
    "[keep|empty]",
    "keep: an engine in the cache is used. empty: every start builds its engine. [default: keep]",
    type=click.Choice(["keep", "empty"]),
)
@_option("--image-size", "SIZE", "Size of the container image that a start pulls, like 8GB.")
@_option("--pull-rate", "RATE", "How fast the image is pulled and unpacked, like 200MB/s.")
@_option("--rate", "R", "Requests per second, for the share of callers that wait.", type=float)
@_option(
    "--idle-timeout",
    "TIME",
    "With --rate: when an idle instance is stopped. [default: the break-even idle time]",
)
@url_options
@_settings
@prices_option
@click.option(
    "--output",
    cls=Option,
    section="Output",
    metavar="DIR",
    type=FolderParam(),
    help="Run directory: a path or a URL. Starts that it holds are not measured again.",
)
@json_option("the result")
@quiet_option
def command(
    repeats: int | None,
    page_cache: Any,
    build_cache: Any,
    image_size: str | None,
    pull_rate: str | None,
    rate: float | None,
    idle_timeout: str | None,
    output: str | None,
    json_path: str | None,
    quiet: bool,
    url_flags: UrlFlags,
    **flags: Any,
) -> int:
    """Measure how long a configuration takes to start, in fresh processes.

    Each start is a new Python process: interpreter, imports, weights, engine, first inference, and
    the inferences until the service time has settled. With --url, a serverless function is called
    from outside, and its answers tell the cold calls from the warm ones.

    \b
    Example:
      gpubench cold --model resnet50 --repeats 20 --output results
      gpubench cold --url https://NAME.example.com/ --parallel 10
    """
    if output is not None and not output.strip():
        raise InputError("--output: it is empty; give a directory or a URL")
    if url_flags.url is not None:
        of_local_starts = {
            "page_cache": page_cache,
            "build_cache": build_cache,
            "image_size": image_size,
            "pull_rate": pull_rate,
            "rate": rate,
            "idle_timeout": idle_timeout,
        }
        refuse_with_url({**of_local_starts, **flags})
        return measure_function(url_flags, repeats, output, json_path, quiet)
    refuse_without_url(url_flags)
    spec = make_spec(given(flags))
    image = _image(image_size, pull_rate)
    timeout_s = _idle_timeout(rate, idle_timeout)
    json_output = json_file(json_path)

    interrupted = False
    with displayed(_Progress(quiet), quiet) as progress, foreign_code(quiet):
        from gpubench.measure.cold import DEFAULT_REPEATS, ColdInterrupted, ColdOptions, cold

        options = ColdOptions(
            DEFAULT_REPEATS if repeats is None else repeats,
            page_cache or "warm",
            build_cache or "keep",
            image,
        )
        try:
            found = cold(spec, options, output, progress)
            finish()
        except ColdInterrupted as stop:
            found, interrupted = stop.result, True

    def show() -> None:
        waiting = [] if rate is None else _waiting(found, rate, timeout_s)
        tables = cold_tables([found])
        emit_tables([replace(each, remarks=(*each.remarks, *waiting)) for each in tables], None)

    write_result(found.to_json() + "\n", json_path, json_output, show)
    if interrupted:
        raise KeyboardInterrupt
    return 1 if found.error or any(start.error for start in found.starts) else 0


def _image(size: str | None, rate: str | None) -> ContainerImage | None:
    """The container image. Raises InputError if only one of the two flags is given."""
    if size is None and rate is None:
        return None
    if size is None or rate is None:
        missing = "--image-size" if size is None else "--pull-rate"
        raise InputError(
            f"{missing} is missing: the time of the pull is the size of the image divided by the "
            "rate; give both"
        )
    from gpubench.results.cold_result import ContainerImage

    image_bytes = parse_bytes(size, "--image-size")
    per_second = parse_bytes_per_second(rate, "--pull-rate")
    return ContainerImage(
        bytes=image_bytes, bytes_per_second=per_second, seconds=image_bytes / per_second
    )


def _idle_timeout(rate: float | None, text: str | None) -> float | None:
    """The timeout in seconds; None: the break-even idle time. Raises InputError."""
    if rate is not None and not 0 < rate < 1e9:
        raise InputError(f"--rate {rate:g} is not allowed; give more than 0 requests per second")
    if text is None:
        return None
    if rate is None:
        raise InputError("--idle-timeout: it needs a load; add --rate R")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError(f"--idle-timeout: {error}") from None


def _waiting(found: ColdResult, rate: float, timeout_s: float | None) -> list[str]:
    """Who waits for a start if an idle instance is stopped: a line for each state of the page
    cache.
    """
    from gpubench.planning.scale_to_zero import break_even_idle_s, scaled_to_zero

    lines = []
    for figures in found.figures:
        if figures.billed_seconds is None:
            continue
        start_s = figures.billed_seconds
        idle_s = break_even_idle_s(start_s) if timeout_s is None else timeout_s
        shares = scaled_to_zero(rate, idle_s, start_s)
        lines.append(
            f"Page cache {figures.page_cache}: with {rate:g} random requests per second (Poisson) "
            f"and a stop after {seconds_text(idle_s)} without a request, "
            f"{share(shares.waiting_share)} of the requests wait for a start, and the instance is "
            f"stopped, and not billed, for {share(1 - shares.billed_share)} of the time."
        )
    return lines


class _Progress(Progress):
    """One line a start."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._of = 0
        self._told = False

    def starts_planned(self, to_measure: int, measured_before: int) -> None:
        self._of = to_measure
        before = f", {measured_before} measured before" if measured_before else ""
        first = "; a first start, which is in no figure, fills the caches" if to_measure else ""
        tell(f"{count(to_measure, 'start')} to measure{before}{first}", self._quiet)

    def start_begins(self, number: int, of: int, seconds_left: float | None) -> None:
        left = "" if seconds_left is None else f", about {elapsed(seconds_left)} left"
        if number:
            tell(f"[{number}/{of}{left}]", self._quiet)

    def start_ended(self, start: ColdStart, seconds_left: float | None) -> None:
        tell(f"    {_outcome(start)}", self._quiet)
        if seconds_left is not None and start.error is None:
            starts = count(self._of, "start")
            tell(f"{starts} will take about {elapsed(seconds_left)}", self._quiet)
        if start.state == NOT_DROPPED and not self._told:
            self._told = True
            tell(f"page cache {start.page_cache}; the result says so")  # even with --quiet


def _outcome(start: ColdStart) -> str:
    if start.error is not None:
        return f"failed in {start.error.stage}: {start.error.message}"
    cache = "" if start.number == 0 else f", page cache {start.state}"
    which = "first start: " if start.number == 0 else ""
    ready = seconds_text(start.ready_seconds or 0.0)
    return f"{which}ready after {ready}{cache}"
