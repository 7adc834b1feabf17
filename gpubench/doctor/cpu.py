"""The processor: is there enough of it, is it left alone, and are its clocks steady?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from gpubench.doctor.finding import Finding, ok, warning
from gpubench.results.result import Lag
from gpubench.statistics.verdicts import LEAST_LAG_LIMIT_US, MOST_BUSY_SHARE
from gpubench.system.machine import Machine, cpu_quota, free_memory_bytes, governors

# Torch and a model such as BERT-large in fp32 take about half of this.
_ENOUGH_MEMORY_GIB = 4.0
_GIB = 1 << 30

# The queue is tried for so long, at a rate at which it mostly sleeps.
_TRIAL_S, _TRIAL_PER_SECOND = 1.0, 1000


@dataclass(frozen=True)
class Trial:
    """What the queue did with nothing to execute."""

    lag: Lag | None
    other_busy_cores: float | None


@dataclass(frozen=True)
class CpuState:
    """What is looked at, as read from the system."""

    machine: Machine
    installed_cores: int
    quota: float | None  # cores' worth of time that control groups allow
    governors: tuple[str, ...]
    free_memory_bytes: int | None
    trial: Trial


def cpu_state(machine: Machine) -> CpuState:
    return CpuState(
        machine=machine,
        installed_cores=os.cpu_count() or machine.cores,
        quota=cpu_quota(),
        governors=governors(),
        free_memory_bytes=free_memory_bytes(),
        trial=try_queue(machine),
    )


def try_queue(machine: Machine) -> Trial:
    """Run the timed queue for a second with an empty executor."""
    from gpubench.cells.resolve import resolve
    from gpubench.measure.executors import synthetic_executors
    from gpubench.measure.run import measured_run
    from gpubench.spec.spec import Spec
    from gpubench.statistics import analyse

    spec = Spec(
        model="synthetic",
        device="cpu",
        service_time=0.0,
        rate=_TRIAL_PER_SECOND,
        duration=_TRIAL_S,
        warmup=0.0,
    )
    cell = resolve(spec, machine)
    run = measured_run(cell, synthetic_executors(cell))
    return Trial(analyse(run.samples, run.loop).lag, run.other_busy_cores)


def cpu_findings(state: CpuState) -> Iterator[Finding]:
    yield _cores(state)
    yield _governor(state)
    yield from _load(state)
    yield from _lag(state.trial)
    yield _sixteen_bits(state.machine)
    yield from _memory(state)


def _cores(state: CpuState) -> Finding:
    usable = state.machine.cores
    found = f"{usable} of {state.installed_cores} cores, {state.machine.cpu}"
    if state.quota is None:
        return ok("cores", found)
    return warning(
        "cores",
        f"{found}; a quota allows {state.quota:g} cores' worth of time",
        "a quota stops every thread for parts of each 100 ms once it is used up: give the "
        "container whole cores instead (docker run --cpuset-cpus), and no --cpus",
    )


def _governor(state: CpuState) -> Finding:
    if not state.governors:
        return ok("governor", "none; the clock is not set from here, as in most virtual machines")
    counts = Counter(state.governors)
    found = ", ".join(f"{name} on {count} cores" for name, count in counts.items())
    if set(counts) == {"performance"}:
        return ok("governor", found)
    return warning(
        "governor",
        found,
        "clocks that follow the load make the first requests after a pause slow: sudo cpupower "
        "frequency-set --governor performance",
    )


def _load(state: CpuState) -> Iterator[Finding]:
    busy = state.trial.other_busy_cores
    if busy is None:
        return
    found = f"other processes keep {busy:.1f} of {state.machine.cores} cores busy"
    if busy <= MOST_BUSY_SHARE * state.machine.cores:
        yield ok("load", found)
    else:
        yield warning("load", found, "end them before you measure (top lists them)")


def _lag(trial: Trial) -> Iterator[Finding]:
    if trial.lag is None:
        return
    found = (
        f"batches leave {trial.lag.p50:.1f} us late at the median, {trial.lag.p99:.0f} us at P99 "
        f"({_TRIAL_PER_SECOND:,} requests a second for {_TRIAL_S:g} s)"
    )
    if trial.lag.p99 <= LEAST_LAG_LIMIT_US:
        yield ok("lag", found)
    else:
        yield warning(
            "lag",
            found,
            f"threads wake late (over {LEAST_LAG_LIMIT_US:g} us): leave a core free, close other "
            "programs, or take a machine that is not shared; latencies under a few ms are not to "
            "be relied on",
        )


def _sixteen_bits(machine: Machine) -> Finding:
    native = [name for name in ("bf16", "fp16") if machine.computes_natively(name)]
    if native:
        return ok("16-bit formats", f"the CPU computes {' and '.join(native)} natively")
    return ok(
        "16-bit formats", "the CPU has none; bf16, fp16 and amp are refused there, fp32 is not"
    )


def _memory(state: CpuState) -> Iterator[Finding]:
    if state.free_memory_bytes is None:
        return
    gib = state.free_memory_bytes / _GIB
    if gib >= _ENOUGH_MEMORY_GIB:
        yield ok("memory", f"{gib:.1f} GiB free")
    else:
        yield warning(
            "memory",
            f"{gib:.1f} GiB free",
            f"larger models may not load: free some, or take a machine with {_ENOUGH_MEMORY_GIB:g} "
            "GiB",
        )
