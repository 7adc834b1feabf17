"""`gpubench cold --url`: the flags about a serverless function, and its calls from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from gpubench.cli.display import displayed
from gpubench.cli.options import Decorated, json_file
from gpubench.cli.output import emit_tables, write_result
from gpubench.cli.sections import Option
from gpubench.cli.settings import tell
from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.report.format import count, elapsed, milliseconds
from gpubench.spec.data_sizes import parse_bytes
from gpubench.spec.durations import parse_duration
from gpubench.system.interrupts import finish

if TYPE_CHECKING:
    from gpubench.measure.cold_url import CallOptions
    from gpubench.results.function_calls import FunctionCall, MemoryTimePrice


@dataclass(frozen=True)
class UrlFlags:
    """The flags as they were given. None: not given."""

    url: str | None = None
    parallel: int | None = None
    idle: str | None = None
    warm_calls: int | None = None
    inferences: int | None = None
    timeout: str | None = None
    memory: str | None = None
    usd_per_gb_second: float | None = None
    usd_per_million_requests: float | None = None
    billing_step: str | None = None
    aws_sigv4: bool | None = None


def _option(name: str, metavar: str | None, text: str, **details: Any) -> Any:
    return click.option(name, cls=Option, section="Function", metavar=metavar, help=text, **details)


_OPTIONS = (
    _option(
        "--url",
        "URL",
        "Measure a serverless function at this URL, which runs gpubench's handler, instead of "
        "starting processes here.",
    ),
    _option("--parallel", "K", "Calls at the same moment in each burst. [default: 1]", type=int),
    _option(
        "--idle",
        "TIME",
        "Wait before each further burst (--repeats), so that the platform ends its processes.",
    ),
    _option("--warm-calls", "N", "Calls after each burst, in turn. [default: 20]", type=int),
    _option("--inferences", "N", "Requests to the engine in each call. [default: 1]", type=int),
    _option("--timeout", "TIME", "How long a call may take. [default: 2m]"),
    _option("--memory", "SIZE", "Memory of the function, like 2GiB. [default: what it says]"),
    _option(
        "--usd-per-gb-second",
        "X",
        "Price of a GB (2^30 bytes) of memory for a second, in US dollars.",
        type=float,
    ),
    _option("--usd-per-million-requests", "X", "Price of a million calls.", type=float),
    _option(
        "--billing-step",
        "TIME",
        "The billed time of a call is a multiple of this. [default: 1ms]",
    ),
    _option(
        "--aws-sigv4",
        None,
        "Sign the calls of a Lambda function URL with your AWS credentials.",
        is_flag=True,
        default=None,
    ),
)


def url_options(command: Decorated) -> Decorated:
    """Adds the flags. The command gets them as one argument, `url_flags`."""

    @wraps(command)
    def with_flags(**arguments: Any) -> Any:
        given = {each.name: arguments.pop(each.name) for each in fields(UrlFlags)}
        return command(url_flags=UrlFlags(**given), **arguments)

    decorated: Any = with_flags
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    added: Decorated = decorated
    return added


def refuse_without_url(flags: UrlFlags) -> None:
    """Raises InputError if a flag is given that means something only with --url."""
    for each in fields(UrlFlags):
        if getattr(flags, each.name) is not None:
            flag = each.name.replace("_", "-")
            raise InputError(f"--{flag} is about a serverless function; add --url URL")


def refuse_with_url(flags: Mapping[str, object]) -> None:
    """Raises InputError if one of these flags of local starts is given, by its name."""
    for name, value in flags.items():
        if value is not None and value != ():
            flag = name.replace("_", "-")
            raise InputError(
                f"--{flag}: a function has its own settings, and its processes start at the "
                "platform; remove it, or remove --url"
            )


def _call_options(flags: UrlFlags, repeats: int | None) -> CallOptions:
    """The flags, checked. Raises InputError."""
    from gpubench.measure.cold_url import DEFAULT_TIMEOUT_S, DEFAULT_WARM_CALLS, CallOptions

    timeout_s = _seconds(flags.timeout, "--timeout")
    options = CallOptions(
        bursts=_or(repeats, 1),
        parallel=_or(flags.parallel, 1),
        idle_s=_seconds(flags.idle, "--idle"),
        warm_calls=_or(flags.warm_calls, DEFAULT_WARM_CALLS),
        inferences=_or(flags.inferences, 1),
        timeout_s=DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s,
        aws_sigv4=bool(flags.aws_sigv4),
        memory_bytes=None if flags.memory is None else int(parse_bytes(flags.memory, "--memory")),
        price=_price(flags),
    )
    options.check()
    return options


def _price(flags: UrlFlags) -> MemoryTimePrice | None:
    from gpubench.pricing.serverless import stated_price
    from gpubench.results.function_calls import SHORTEST_STEP_MS

    price = stated_price(flags.usd_per_gb_second, flags.usd_per_million_requests)
    step_s = _seconds(flags.billing_step, "--billing-step")
    if step_s is None:
        return price
    if price is None:
        raise InputError("--billing-step: it needs a price; add --usd-per-gb-second X")
    if step_s * 1e3 < SHORTEST_STEP_MS:
        raise InputError(f"--billing-step {flags.billing_step}: give 1us or more, like 100ms")
    return price.model_copy(update={"billing_step_ms": step_s * 1e3})


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _seconds(text: str | None, flag: str) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from None


def measure_function(
    flags: UrlFlags, repeats: int | None, output: str | None, json_path: str | None, quiet: bool
) -> int:
    """Call the function and show its tables. The exit status is 1 if a call failed."""
    from gpubench.report.functions import function_tables

    options = _call_options(flags, repeats)
    json_output = json_file(json_path)
    interrupted = False
    with displayed(_Progress(quiet), quiet) as progress:
        from gpubench.measure.cold import ColdInterrupted
        from gpubench.measure.cold_url import cold_url

        try:
            found = cold_url(flags.url or "", options, output, progress)
            finish()
        except ColdInterrupted as stop:
            found, interrupted = stop.result, True
    tables = function_tables([found])
    document = found.to_json() + "\n"
    write_result(document, json_path, json_output, lambda: emit_tables(tables, None))
    if interrupted:
        raise KeyboardInterrupt
    calls = found.function.calls if found.function else []
    return 1 if any(call.error for call in calls) else 0


class _Progress(Progress):
    """One line a burst."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def _tell(self, text: str) -> None:
        tell(text, self._quiet)

    def bursts_planned(self, to_send: int, sent_before: int) -> None:
        before = f", {sent_before} sent before" if sent_before else ""
        self._tell(f"{count(to_send, 'burst')} of calls to send{before}")

    def idle_begins(self, seconds: float) -> None:
        self._tell(f"waiting {elapsed(seconds)}, so that the platform ends idle processes")

    def burst_ended(self, number: int, of: int, calls: Sequence[FunctionCall]) -> None:
        good = [call for call in calls if call.error is None]
        cold = [call.round_trip_ms for call in good if call.cold and call.round_trip_ms is not None]
        slowest = f", the longest in {milliseconds(max(cold))} ms" if cold else ""
        self._tell(
            f"[{number}/{of}] {count(len(cold), 'cold call')}{slowest}, "
            f"{count(len(good) - len(cold), 'warm call')}"
        )
        failed = [call.error.message for call in calls if call.error]
        for message in dict.fromkeys(failed):
            self._tell(f"    {failed.count(message)} failed: {message}")
