"""Calls a serverless function from outside, and tells its cold calls from its warm ones.

URL -> bursts of simultaneous calls, each followed by warm calls -> starts and calls -> figures

The function answers with the stages of the start of its process (`gpubench.serverless`). A call is
cold if it was the first request of the process that answered it. docs/serverless.md defines every
figure. This process does not import torch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cold import ColdInterrupted
from gpubench.measure.function_call import Called, burst, parse_function_url
from gpubench.measure.function_credentials import headers_for
from gpubench.measure.progress import Progress
from gpubench.pricing.serverless import with_function_cost
from gpubench.results.cold_result import UNKNOWN, ColdResult, ColdStart
from gpubench.results.function_answer import MOST_INFERENCES, FunctionAnswer
from gpubench.results.function_calls import FunctionCall, MemoryTimePrice, ServerlessFunction
from gpubench.results.run_directory import RunDirectory, cold_name, open_run
from gpubench.statistics.cold_starts import figures_of
from gpubench.statistics.function_calls import call_figures

DEFAULT_WARM_CALLS = 20
DEFAULT_TIMEOUT_S = 120.0
MOST_PARALLEL = 200
_MOST_CALLS = 2000  # of one document
_LONGEST_TIMEOUT_S = 3600.0
# The kernel tells the start of a process to a clock tick, so its age may be too long by this.
_AGE_ERROR_MS = 10.0
# What all answers have in common. Services run one function on machines of several kinds, so the
# model of the processor and the version of the kernel may differ.
_SAME = ("gpubench", "python", "torch", "torchvision", "transformers", "cuda", "cores", "gpus")


@dataclass(frozen=True)
class CallOptions:
    """How the function is called, and what it costs."""

    bursts: int = 1
    parallel: int = 1  # calls of a burst, at the same moment
    idle_s: float | None = None  # before each burst but the first: the platform ends its processes
    warm_calls: int = DEFAULT_WARM_CALLS  # one after another, after each burst
    inferences: int = 1  # in each call
    timeout_s: float = DEFAULT_TIMEOUT_S
    aws_sigv4: bool = False
    memory_bytes: int | None = None  # None: what the function says
    price: MemoryTimePrice | None = None
    sleep: Callable[[float], None] = field(default=time.sleep)  # tests replace it

    def check(self) -> None:
        """Raises InputError for values that are not allowed."""
        for flag, value, least, most in (
            ("--repeats", self.bursts, 1, _MOST_CALLS),
            ("--parallel", self.parallel, 1, MOST_PARALLEL),
            ("--warm-calls", self.warm_calls, 0, _MOST_CALLS),
            ("--inferences", self.inferences, 1, MOST_INFERENCES),
        ):
            if not least <= value <= most:
                raise InputError(f"{flag} {value} is not allowed; give {least} to {most}")
        if not 0 < self.timeout_s <= _LONGEST_TIMEOUT_S:
            raise InputError(f"--timeout {self.timeout_s:g}s is not allowed; give up to 1h")
        if self.bursts > 1 and self.idle_s is None:
            raise InputError(
                "--repeats: processes that have answered are warm in the next burst; add --idle "
                "15m, so that the platform ends them before it"
            )
        if self.bursts * (self.parallel + self.warm_calls) > _MOST_CALLS:
            raise InputError(
                f"--repeats, --parallel and --warm-calls ask for more than {_MOST_CALLS:,} calls; "
                "give fewer"
            )


def cold_url(
    url: str,
    options: CallOptions | None = None,
    output: str | None = None,
    progress: Progress | None = None,
) -> ColdResult:
    """Call the function at `url`, which runs the handler of `gpubench.serverless`.

    The document is stored in the run directory `output` after each burst, if one is given. Bursts
    that it already holds count. A call without an answer is kept with its error.

    Raises InputError before the first call for anything that cannot be used, and if no call of the
    first burst has an answer; GpubenchError if the answers come from different functions. On Ctrl-C
    it raises ColdInterrupted, with the calls until then.
    """
    options, progress = options or CallOptions(), progress or Progress()
    options.check()
    place = parse_function_url(url)
    headers = headers_for(place, options.aws_sigv4)
    directory = None if output is None else open_run(output)
    key = cold_name(hashlib.sha256(f"{place.shown} {options.inferences}".encode()).hexdigest()[:16])

    def called(parallel: int) -> list[Called]:
        return burst(place, options.inferences, parallel, options.timeout_s, headers)

    with ExitStack() as stack:
        stored = None
        if directory is not None:
            stack.enter_context(directory.locked())
            directory.check_writable()
            stored = directory.read_cold(key)
        document = _Document(place.shown, options, stored)
        done = document.bursts
        progress.bursts_planned(max(0, options.bursts - done), done)
        try:
            for number in range(done + 1, options.bursts + 1):
                if number > 1 and options.idle_s is not None:
                    progress.idle_begins(options.idle_s)
                    options.sleep(options.idle_s)
                calls = document.add(called(options.parallel), number)
                answered = any(call.error is None for call in calls)
                if document.first is None:
                    reason = next(call.error.message for call in calls if call.error)
                    raise InputError(f"no call was answered: {reason}")
                for _ in range(options.warm_calls if answered else 0):
                    calls += document.add(called(1), number)
                progress.burst_ended(number, options.bursts, calls)
                document.store(directory, key)
        except (KeyboardInterrupt, GpubenchError) as error:
            if document.first is not None:
                document.store(directory, key)
                if isinstance(error, KeyboardInterrupt):
                    raise ColdInterrupted(document.result()) from None
            raise
        return document.result()


class _Document:
    """The calls until now. All of them must be of the same function."""

    def __init__(self, url: str, options: CallOptions, stored: ColdResult | None) -> None:
        self._url = url
        self._options = options
        self._calls: list[FunctionCall] = []
        self._starts: list[ColdStart] = []
        self._peak: int | None = None
        self._cpus: list[str] = []
        self.first: ColdResult | None = None  # what all answers have in common
        if stored is not None and stored.function is not None:
            self.first = stored
            self._calls = [*stored.function.calls]
            self._starts = [*stored.starts]
            self._peak = stored.function.peak_host_bytes
            self._cpus = [*stored.function.cpus]

    @property
    def bursts(self) -> int:
        return max((call.burst for call in self._calls), default=0)

    def add(self, called: Sequence[Called], number: int) -> list[FunctionCall]:
        """Keep calls that were sent at the same moment. Raises GpubenchError for another function.

        Then none of them is kept.
        """
        answers = [each.answer for each in called if each.answer is not None]
        for answer in answers:
            self._check(answer)
        calls = [_call(each, number, len(called)) for each in called]
        for each in called:
            if each.answer is not None and each.answer.cold:
                self._starts.append(_start(each.answer, each.time, len(self._starts) + 1))
        self._calls += calls
        peaks = [self._peak, *(answer.peak_host_bytes for answer in answers)]
        self._peak = max((peak for peak in peaks if peak is not None), default=None)
        cpus = [*self._cpus, *(answer.environment.cpu for answer in answers)]
        self._cpus = list(dict.fromkeys(cpus))
        return calls

    def _check(self, answer: FunctionAnswer) -> None:
        memory = self._options.memory_bytes or answer.memory_bytes
        if self.first is None:
            function = ServerlessFunction(
                url=self._url, inferences=self._options.inferences, memory_bytes=memory
            )
            self.first = ColdResult(
                spec=answer.spec,
                environment=answer.environment,
                engine=answer.engine,
                function=function,
            )
            return
        assert self.first.function is not None
        before, now = self.first.environment, answer.environment
        changed = [name for name in _SAME if getattr(before, name) != getattr(now, name)]
        if answer.spec != self.first.spec:
            changed.append("settings")
        if memory != self.first.function.memory_bytes:
            changed.append("memory")
        if changed:
            raise GpubenchError(
                f"{self._url}: an answer comes from another function than those before it: other "
                f"{', '.join(changed)}; wait until its deployment has ended, and choose another "
                "--output"
            )

    def store(self, directory: RunDirectory | None, key: str) -> None:
        """Write what was measured until now."""
        if directory is not None:
            directory.write_cold(key, self.result())

    def result(self) -> ColdResult:
        """The document of all calls until now. At least one of them must have an answer."""
        assert self.first is not None
        assert self.first.function is not None
        update = {
            "calls": self._calls,
            "peak_host_bytes": self._peak,
            "cpus": self._cpus,
            "cold": call_figures(self._calls, cold=True),
            "warm": call_figures(self._calls, cold=False),
        }
        result = self.first.model_copy(
            update={
                "starts": self._starts,
                "figures": figures_of(self._starts),
                "function": self.first.function.model_copy(update=update),
            }
        )
        return with_function_cost(result, self._options.price)


def _call(called: Called, number: int, parallel: int) -> FunctionCall:
    answer = called.answer
    call = FunctionCall(
        burst=number,
        parallel=parallel,
        time=called.time,
        connect_ms=called.connect_ms,
        round_trip_ms=called.round_trip_ms,
        error=called.error,
    )
    if answer is None or called.round_trip_ms is None:
        return call
    before_handler_ms = called.round_trip_ms - answer.handler_ms
    call.process = answer.process
    call.cold = answer.cold
    call.handler_ms = answer.handler_ms
    call.inference_ms = sum(answer.inference_ms) / len(answer.inference_ms)
    # The ages of processes are durations, so the two machines need not have the same time.
    age_ms = answer.age_seconds * 1e3
    call.started_for_it = answer.cold and age_ms <= before_handler_ms + _AGE_ERROR_MS
    started_ms = age_ms if call.started_for_it else 0.0
    call.outside_ms = max(0.0, before_handler_ms - started_ms)
    return call


def _start(answer: FunctionAnswer, when: str, number: int) -> ColdStart:
    return ColdStart(
        number=number,
        time=when,
        page_cache=UNKNOWN,
        seconds=answer.start.seconds,
        ready_seconds=answer.start.ready_seconds,
        excluded_seconds=answer.start.excluded_seconds,
        from_cache=answer.start.from_cache,
        peak_host_bytes=answer.peak_host_bytes,
    )
