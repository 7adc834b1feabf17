"""Checks whether the speed depends on inputs being repeated.

The requests of a cell are used again and again. If something answers a repeated input from a cache,
the figures are those of the cache. So after the warm-up, some requests with new inputs run in turn
with requests that the workers have executed before: on the same threads, with the same engine.

Only workers in Python are checked. A CUDA graph runs the same kernels for every input, so nothing
can answer in their place.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import cast

import numpy as np
import torch

from gpubench import core
from gpubench.errors import GpubenchError, reason_in, reason_of
from gpubench.measure.collect import collect
from gpubench.measure.python_workers import Worker
from gpubench.models.base import add_tensor, seeded
from gpubench.results.result import InputRepetition
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell, ClosedLoad, OpenLoad
from gpubench.statistics.input_repetition import LEAST_PAIRS, new_inputs_slower
from gpubench.system.cpu_threads import on_ending_thread

MakeRequest = Callable[[torch.Generator], object]

_MOST_PAIRS = 32
# New inputs may take this much memory.
_MOST_BYTES = 64 << 20
# The check may take this share of the time of the warm-up and the window, but not more than a
# second, or than 5% if that is longer.
_SHARE, _LEAST_LIMIT_S, _LIMIT_SHARE = 0.1, 1.0, 0.05
_DEADLINE_NS = 900 * 10**9


class InputRepetitionCheck:
    """Compares new inputs with repeated ones, on the workers of a cell."""

    def __init__(self, cell: Cell, workers: Sequence[Worker], make: MakeRequest) -> None:
        """`make` makes a request that is not yet in the format of the engine."""
        self._cell, self._workers, self._make = cell, workers, make
        self._found = InputRepetition()

    def run(self, runner: core.Runner, requests_per_second: float, warmup_s: float) -> None:
        """Run the requests of the check. Raises GpubenchError for an error of the model."""
        pairs = self._pairs(requests_per_second, warmup_s)
        if pairs < LEAST_PAIRS:
            self._found.note = "a request takes too long to compare repeated with new inputs"
            return
        sent = sorted(set.union(*(worker.sent for worker in self._workers)))[:pairs]
        try:
            # Elsewhere, since OpenMP would give this thread a pool that stays.
            new = on_ending_thread(lambda: self._new_requests(pairs))
        except Exception as error:  # a user's own function, which may make few requests only
            self._found.note = f"new inputs cannot be made: {reason_of(error)}"
            return
        if len(new) < LEAST_PAIRS:
            self._found.note = "the model has too few different inputs, or too large ones"
            return
        # The repeated one comes first in every second pair.
        is_new = np.array([bool(n % 2) == (n // 2 % 2 == 0) for n in range(2 * len(new))])
        with ExitStack() as stack:
            for number, worker in enumerate(self._workers):
                mixed = [
                    new[n // 2][number] if is_new[n] else worker.requests[sent[n // 2 % len(sent)]]
                    for n in range(2 * len(new))
                ]
                stack.enter_context(worker.instead(mixed))
            samples = _run(runner, 2 * len(new))
        service_ns = np.empty(2 * len(new), np.int64)
        service_ns[samples.id] = samples.completed_ns - samples.departed_ns
        change, interval = new_inputs_slower(service_ns[~is_new], service_ns[is_new])
        self._found.new_inputs_slower = round(change.figure, 5)
        self._found.new_inputs_slower_interval = interval
        self._found.by_chance = round(change.noise, 5)

    def found(self) -> InputRepetition:
        """What the check found. Call it after the measured run."""
        sent = set.union(*(worker.sent for worker in self._workers))
        requests = self._workers[0].requests
        known = on_ending_thread(lambda: {_digest(requests[place]) for place in sent})
        self._found.distinct_requests = None if None in known else len(known)
        return self._found

    def _pairs(self, requests_per_second: float, warmup_s: float) -> int:
        load, window_s = self._cell.load, 0.0
        if isinstance(load, (ClosedLoad, OpenLoad)):
            duration_s = load.duration_s if isinstance(load, ClosedLoad) else None
            rate = load.rate_per_second if isinstance(load, OpenLoad) else requests_per_second
            lengths = [load.requests / rate] if load.requests else []
            window_s = min(lengths + ([duration_s] if duration_s else []))
        total_s = warmup_s + window_s
        limit_s = min(_SHARE * total_s, max(_LEAST_LIMIT_S, _LIMIT_SHARE * total_s))
        return min(_MOST_PAIRS, int(limit_s * requests_per_second / 2))

    def _new_requests(self, most: int) -> list[list[object]]:
        """New requests, each in the format of every worker. Workers of one device share it."""
        generator = seeded(self._cell.seed + 4)  # the seed of no other requests
        known = {_digest(request) for request in self._workers[0].requests}
        devices = self._cell.worker_devices
        made: list[list[object]] = []
        used_bytes = 0
        for _ in range(most):
            request = self._make(generator)
            by_device = {
                device: worker.formatted(request)
                for device, worker in zip(devices, self._workers, strict=True)
            }
            formatted = [by_device[device] for device in devices]
            digest = _digest(formatted[0])  # it also reads the inputs, as an earlier run has done
            used_bytes += _bytes(formatted[0])
            if used_bytes > _MOST_BYTES and len(made) >= LEAST_PAIRS:
                break
            if digest is None or digest not in known:
                made.append(formatted)
                known.add(digest)
        return made


def _run(runner: core.Runner, requests: int) -> Samples:
    outcome = runner.run(
        core.OpenLoop(np.zeros(requests, np.int64)),
        max_batch=1,
        batch_deadline_ns=_DEADLINE_NS,
        capacity=requests,
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.error:
        raise GpubenchError(reason_in(outcome.error))
    return collect(outcome)


def _digest(request: object) -> bytes | None:
    """A hash of the values of a request. None if it has a type that cannot be hashed."""
    digest = hashlib.blake2b(digest_size=16)
    if _is_tensors(request):
        for number, tensor in enumerate(cast(tuple[torch.Tensor, ...], request)):
            add_tensor(digest, str(number), tensor)
        return digest.digest()
    try:
        digest.update(pickle.dumps(request))
    except Exception:  # pickle raises errors of many types
        return None
    return digest.digest()


def _bytes(request: object) -> int:
    if not _is_tensors(request):
        return 0
    return sum(tensor.nbytes for tensor in cast(tuple[torch.Tensor, ...], request))


def _is_tensors(request: object) -> bool:
    return isinstance(request, tuple) and all(isinstance(each, torch.Tensor) for each in request)
