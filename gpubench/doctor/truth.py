"""Whether figures of this machine are true, and how small a difference they can show.

It measures what is known in advance: queues whose latencies follow from theory, and the same thing
many times, which has no difference from itself. docs/comparing.md explains each figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from gpubench.doctor.finding import Finding, from_error, ok, warning
from gpubench.doctor.queueing_check import DURATION_S, LOADS, WARMUP_S, QueueCheck, queue_checks
from gpubench.doctor.same_thing import NULL, SMALL_MODEL, System, SystemCheck, check_system
from gpubench.errors import GpubenchError
from gpubench.report.format import two_digits
from gpubench.statistics.repeatability import PER_ROUND, ROUNDS
from gpubench.system.machine import Machine

LEVELS = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Comparability:
    """How small a difference comparisons on this machine can show, from a small torch model."""

    throughput: float  # half-width of the 95% interval of a ratio after ten rounds
    p95: float
    spread: float  # for `compare --spread`: the larger one of throughput and P95

    @property
    def throughput_level(self) -> float | None:
        return level(self.throughput)

    @property
    def p95_level(self) -> float | None:
        return level(self.p95)

    @property
    def finding(self) -> Finding:
        check = "comparisons"
        found = (
            f"after {ROUNDS} rounds of A, B, B, A the interval of a ratio is "
            f"±{two_digits(self.throughput)} for throughput and ±{two_digits(self.p95)} for P95 "
            f"(a small torch model): throughput {_comparable(self.throughput_level)}, P95 "
            f"{_comparable(self.p95_level)}; for single runs, give compare --spread "
            f"{two_digits(self.spread)} or more"
        )
        if self.throughput_level is not None and self.p95_level is not None:
            return ok(check, found)
        return warning(
            check,
            found,
            "end other programs, measure each repeat for longer (--duration) or in more rounds, or "
            "use a machine that other virtual machines do not use",
        )


def _comparable(at: float | None) -> str:
    if at is None:
        return f"cannot be compared at {LEVELS[-1]:.0%}"
    return f"can be compared at {at:.0%}"


def level(half_width: float) -> float | None:
    """The smallest of 1%, 2% and 5% that a half-width does not exceed; None if it exceeds all."""
    return next((each for each in LEVELS if half_width <= each), None)


def conclude(check: SystemCheck) -> Comparability:
    return Comparability(
        throughput=check.throughput.half_width,
        p95=check.p95.half_width,
        spread=max(check.throughput.spread, check.p95.spread),
    )


TruthPart = QueueCheck | SystemCheck | Comparability | Finding


def systems() -> tuple[System, ...]:
    """What is measured again and again. Without torch it is the null system alone."""
    return (NULL, SMALL_MODEL) if find_spec("torch") is not None else (NULL,)


def seconds(chosen: Sequence[System]) -> float:
    """About how long it takes."""
    queues = 2 * len(LOADS) * (DURATION_S + WARMUP_S)
    return queues + sum(ROUNDS * PER_ROUND * system.seconds for system in chosen)


def examine_truth(machine: Machine, chosen: Sequence[System]) -> Iterator[TruthPart]:
    """Each part when it is measured; a Finding where one cannot be measured.

    Raises KeyboardInterrupt on Ctrl-C.
    """
    try:
        yield from queue_checks(machine)
    except GpubenchError as error:
        yield from_error("queues", error)
    conclusion: Comparability | Finding = warning(
        "comparisons",
        "nothing is concluded, because the small torch model was not measured",
        "pip install torch torchvision, or see above why it failed",
    )
    for system in chosen:
        try:
            check = check_system(system, machine)
        except GpubenchError as error:
            yield from_error(f"A/A of {system.name}", error)
            continue
        yield check
        if system is SMALL_MODEL:
            conclusion = conclude(check)
    yield conclusion


def document(parts: Sequence[TruthPart]) -> dict[str, object]:
    """What scripts read: every figure. Shares are numbers from 0 to 1, latencies are in ms."""
    conclusion = next((part for part in parts if isinstance(part, Comparability)), None)
    return {
        "queues": [asdict(part) for part in parts if isinstance(part, QueueCheck)],
        "systems": [asdict(part) for part in parts if isinstance(part, SystemCheck)],
        "conclusion": None
        if conclusion is None
        else {
            **asdict(conclusion),
            "throughput_level": conclusion.throughput_level,
            "p95_level": conclusion.p95_level,
        },
    }


def findings_of(part: TruthPart) -> list[Finding]:
    if isinstance(part, Finding):
        return [part]
    return part.findings if isinstance(part, SystemCheck) else [part.finding]
