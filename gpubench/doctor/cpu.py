"""The processor: its cores, clocks and memory, and whether other programs use it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from gpubench.doctor.finding import Finding, ok, warning
from gpubench.results.result import Lag
from gpubench.statistics.verdicts import LEAST_LAG_LIMIT_US, MOST_BUSY_SHARE
from gpubench.system.machine import Machine, cpu_quota, free_memory_bytes, governors

# torch and a model such as BERT-large in fp32 need about half of this.
_ENOUGH_MEMORY_GIB = 4.0
_GIB = 1 << 30

# Duration of the trial of the queue, and its rate. At this rate the worker mostly sleeps.
_TRIAL_S, _TRIAL_PER_SECOND = 1.0, 1000


@dataclass(frozen=True)
class Trial:
    """The lag of the queue with an empty executor."""

    lag: Lag | None
    other_busy_cores: float | None


@dataclass(frozen=True)
class CpuState:
    """The state of the processor, as read from the system."""

    machine: Machine
    installed_cores: int
    quota: float | None  # CPU quota of the control groups, in cores
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
    """Run the queue for a second with an empty executor."""
    from gpubench.cells.resolve import resolve
    from gpubench.measure.executors import synthetic_executors
    from gpubench.measure.run import measured_run
    from gpubench.spec.spec import Spec
    from gpubench.statistics import analyse
    from gpubench.system.interrupts import Deferral

    spec = Spec(
        model="synthetic",
        device="cpu",
        service_time=0.0,
        rate=_TRIAL_PER_SECOND,
        duration=_TRIAL_S,
        warmup=0.0,
    )
    cell = resolve(spec, machine)
    with Deferral() as deferral:
        run = measured_run(cell, synthetic_executors(cell), deferral)
    if deferral.pressed:
        raise KeyboardInterrupt
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
        f"{found}; a CPU quota of {state.quota:g} cores",
        "a used-up quota stops all threads for a part of each 100 ms: give the container whole "
        "cores (docker run --cpuset-cpus) instead of --cpus",
    )


def _governor(state: CpuState) -> Finding:
    if not state.governors:
        return ok("governor", "none: this system does not set the clock, as most virtual machines")
    counts = Counter(state.governors)
    found = ", ".join(f"{name} on {count} cores" for name, count in counts.items())
    if set(counts) == {"performance"}:
        return ok("governor", found)
    return warning(
        "governor",
        found,
        "the clock is low after a pause, so the first requests are slow: sudo cpupower "
        "frequency-set --governor performance",
    )


def _load(state: CpuState) -> Iterator[Finding]:
    busy = state.trial.other_busy_cores
    if busy is None:
        return
    found = f"other processes use {busy:.1f} of {state.machine.cores} cores"
    if busy <= MOST_BUSY_SHARE * state.machine.cores:
        yield ok("load", found)
    else:
        yield warning("load", found, "end them before you measure (top lists them)")


def _lag(trial: Trial) -> Iterator[Finding]:
    if trial.lag is None:
        return
    found = (
        f"the median lag is {trial.lag.p50:.1f} us, P99 {trial.lag.p99:.0f} us "
        f"({_TRIAL_PER_SECOND:,} requests per second for {_TRIAL_S:g} s)"
    )
    if trial.lag.p99 <= LEAST_LAG_LIMIT_US:
        yield ok("lag", found)
    else:
        yield warning(
            "lag",
            found,
            f"P99 is over {LEAST_LAG_LIMIT_US:g} us, so latencies below a few ms are unreliable: "
            "leave a core free, end other programs, or use a machine that is not shared",
        )


def _sixteen_bits(machine: Machine) -> Finding:
    native = [name for name in ("bf16", "fp16") if machine.computes_natively(name)]
    if native:
        return ok("16-bit formats", f"the CPU computes {' and '.join(native)} natively")
    return ok("16-bit formats", "the CPU has none, so bf16, fp16 and amp are refused there")


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
            "large models may not load: free some memory, or use a machine with "
            f"{_ENOUGH_MEMORY_GIB:g} GiB",
        )
