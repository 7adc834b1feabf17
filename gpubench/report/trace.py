"""One cell as a trace for Perfetto and chrome://tracing: queue, workers and devices over time.

The document is JSON in the Trace Event Format
(https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU). Perfetto drops
events with negative times, and slices that overlap others of their track
(`trace_sorter_negative_timestamp_dropped` and `slice_drop_overlapping_complete_event` in
https://perfetto.dev/docs/analysis/sql-stats). Therefore time 0 is the first event and not the start
of the window, and batches that are in flight together have tracks of their own.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from gpubench.errors import InputError
from gpubench.planning.documents import Place, samples_of
from gpubench.report.escape import terminal
from gpubench.report.format import count
from gpubench.report.notes import verdict
from gpubench.report.settings import labels, machine_name
from gpubench.results.run_directory import key_and_number
from gpubench.statistics.stages import stages_ns
from gpubench.statistics.windows import counted_samples

if TYPE_CHECKING:
    from gpubench.results.result import Result
    from gpubench.results.samples import Nanoseconds, Samples

# A larger trace opens slowly. Perfetto needs about a gigabyte of memory for one of 100 MB.
MOST_REQUESTS = 50_000
MOST_SINGLE_REQUESTS = 5_000  # that have slices of their own

_BEFORE_WINDOW = 0.1  # share of the requests shown that may lie before the window
_MOST_NS = 2**61  # stamps of a real clock are smaller; sums of some of them do not overflow
_LISTED = 5  # cells in an error
_IN_BATCH = ("batching", "fill", "submit", "preprocess", "h2d", "compute", "d2h", "return",
             "postprocess")  # fmt: skip
_ON_DEVICE = ("h2d", "compute", "d2h")

Arg = str | int | float | bool | None
TraceEvent = dict[str, object]


@dataclass(frozen=True)
class TraceFile:
    text: str  # the document
    remark: str  # one sentence: what is in it, and how much is left out


def chosen_cell(
    cells: Sequence[tuple[str, Result]], wanted: str | None, origin: str
) -> tuple[str, Result]:
    """The cell whose key is, or begins with, `wanted`; the only one if it is None.

    Of the repeats of a cell it is the first one that did not fail. Raises InputError, which lists
    the keys, unless exactly one cell fits.
    """
    exact = [cell for cell in cells if cell[0] == wanted]
    fitting = exact or [cell for cell in cells if cell[0].startswith(wanted or "")]
    if len({key_and_number(key)[0] for key, _ in fitting}) == 1:
        return min(fitting, key=lambda cell: (cell[1].error is not None, key_and_number(cell[0])))
    listed = fitting or cells
    in_words = labels([result for _, result in listed])[:_LISTED]
    names = [f"{key} ({words})" for (key, _), words in zip(listed, in_words, strict=False)]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    found = count(len(listed), "cell")
    problem = f"--cell {wanted}: no key begins so; {origin} has" if not fitting else f"{origin} has"
    if wanted and fitting:
        problem = f"--cell {wanted} fits"
    raise InputError(
        f"{problem} {found}: {', '.join(names)}{more}; give --cell KEY (--format csv lists them)"
    )


def trace_of(place: Place, result: Result) -> TraceFile:
    """Raises InputError if the cell has no sample file, or if that cannot be used."""
    key = place.name
    samples = samples_of(place, result)
    if samples is None:
        reason = f": it failed in {result.error.stage}" if result.error else ""
        raise InputError(
            f"there is no sample file {key}.parquet{reason}; a trace needs the samples of a cell: "
            "measure it again with --output DIR, or choose another --cell"
        )
    return make_trace(key, result, samples)


def make_trace(key: str, result: Result, samples: Samples) -> TraceFile:
    """The trace of one cell. It has at most MOST_REQUESTS requests, from shortly before the window.

    Raises InputError if no request completed, or if the stamps cannot be those of a run.
    """
    _check(key, result, samples)
    opens_ns = result.window.counted.from_ns if result.window.counted else None
    chosen = _shown_rows(samples, opens_ns)
    shown = samples.rows(chosen)
    stamps = [shown.scheduled_ns, shown.departed_ns, shown.completed_ns]
    stamps += [] if shown.device_ns is None else [shown.device_ns]
    tracks = _Tracks(
        zero_ns=min(int(each.min()) for each in stamps),
        end_ns=max(int(each.max()) for each in stamps),
    )
    settings = _settings(key, result)
    events = [
        *_phases(tracks, result, settings),
        *_waiting(tracks, samples),
        *_single_requests(tracks, result, shown, chosen.start),
        *_batches(tracks, result, shown),
        *_gpu_readings(tracks, result),
    ]
    lines = ",\n".join(
        json.dumps(event, separators=(",", ":"), allow_nan=False)
        for event in (*tracks.names, *events)
    )
    head = json.dumps(settings, allow_nan=False)
    left_out = len(samples) - len(shown)
    remark = f"the trace of {key} has {count(len(shown), 'request')}"
    if left_out:
        remark += f"; {left_out:,} are left out, before or after them"
    if len(shown) > MOST_SINGLE_REQUESTS:
        remark += f"; {MOST_SINGLE_REQUESTS:,} have slices of their own"
    return TraceFile(
        f'{{"displayTimeUnit":"ns","otherData":{head},"traceEvents":[\n{lines}\n]}}\n', remark
    )


class _Tracks:
    """The tracks of a trace: groups, each with tracks in them. Makes the events of each."""

    def __init__(self, zero_ns: int, end_ns: int) -> None:
        self.names: list[TraceEvent] = []  # the events that name the tracks
        self.zero_ns, self.end_ns = zero_ns, end_ns
        self._groups: dict[str, int] = {}
        self._tracks: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)

    def at(self, group: str, track: str) -> dict[str, int]:
        """The numbers of a track, which gets the next place if it is new."""
        if group not in self._groups:
            pid = self._groups[group] = next(self._numbers)
            self._name("process", group, pid, pid)
        pid = self._groups[group]
        if (group, track) not in self._tracks:
            tid = self._tracks[group, track] = next(self._numbers)
            self._name("thread", track, pid, tid)
        return {"pid": pid, "tid": self._tracks[group, track]}

    def _name(self, kind: str, name: str, pid: int, tid: int) -> None:
        same: TraceEvent = {"ph": "M", "pid": pid, "tid": tid}
        self.names.append({"name": f"{kind}_name", **same, "args": {"name": terminal(name)}})
        self.names.append({"name": f"{kind}_sort_index", **same, "args": {"sort_index": tid}})

    def times(self, stamps_ns: Nanoseconds) -> list[float]:
        """Microseconds from the start of the trace."""
        return microseconds(stamps_ns - self.zero_ns)


def microseconds(duration_ns: Nanoseconds) -> list[float]:
    """For `ts` and `dur`: a reader that multiplies by 1000 and truncates gets these nanoseconds.

    Perfetto does so (`CoerceToTs` in src/trace_processor/importers/json/json_utils.h). A nanosecond
    less in one of two slices would make them overlap.
    """
    us = duration_ns / 1000
    is_low = (us * 1000).astype(np.int64) < duration_ns
    found: list[float] = np.where(is_low, np.nextafter(us, np.inf), us).tolist()
    return found


def _check(key: str, result: Result, samples: Samples) -> None:
    if not len(samples):
        raise InputError(f"{key} has no completed request to show; choose another --cell")
    rows = result.window.counted
    stamps = [getattr(samples, column.name) for column in fields(samples)]
    stamps += [np.array([rows.from_ns, rows.to_ns])] if rows else []
    for each in (each for each in stamps if isinstance(each, np.ndarray) and each.size):
        if int(each.min()) < -_MOST_NS or int(each.max()) > _MOST_NS:
            raise InputError(f"the time stamps of {key} are not those of a run; measure it again")


def _shown_rows(samples: Samples, opens_ns: int | None) -> slice:
    """Whole batches: MOST_REQUESTS at most, and of those before the window only the last ones."""
    starts = np.append(samples.batch_starts, len(samples))
    first = 0
    if opens_ns is not None and len(samples) > MOST_REQUESTS:
        in_window = int(np.argmax(samples.departed_ns >= opens_ns))
        first = max(0, in_window - int(MOST_REQUESTS * _BEFORE_WINDOW))
    begin = int(starts[np.searchsorted(starts, first, side="right") - 1])
    end = int(starts[np.searchsorted(starts, begin + MOST_REQUESTS, side="right") - 1])
    return slice(begin, max(end, begin + 1))


def _settings(key: str, result: Result) -> dict[str, Arg]:
    given = result.spec.model_dump(mode="json", exclude_none=True, exclude={"instance"})
    figures: dict[str, Arg] = {
        "cell": key,
        "machine": machine_name(result.environment),
        "verdict": verdict(result),
        "throughput_per_second": result.throughput_per_second,
        "p95_ms": result.latency_ms.p95,
    }
    return {
        terminal(name): value if isinstance(value, (int, float)) else terminal(str(value))
        for name, value in (figures | given).items()
        if value is not None
    }


def _phases(tracks: _Tracks, result: Result, settings: Mapping[str, Arg]) -> Iterator[TraceEvent]:
    """What counts: the warm-up, the measured window, and what follows it."""
    rows = result.window.counted
    if rows is None:
        return
    window = sorted((rows.from_ns, rows.to_ns))
    ends_ns = np.clip([tracks.zero_ns, *window, tracks.end_ns], tracks.zero_ns, tracks.end_ns)
    names = "warm-up (does not count)", "measured window", "after the window"
    where = tracks.at("requests", "phases")
    begins, durations = tracks.times(ends_ns[:-1]), microseconds(np.diff(ends_ns))
    for name, begin, duration in zip(names, begins, durations, strict=True):
        if duration:
            same = {"ts": begin, "dur": duration, "args": settings}
            yield {"name": name, "ph": "X", **where, **same}


def _waiting(tracks: _Tracks, samples: Samples) -> Iterator[TraceEvent]:
    """A counter: the requests that are due and in no batch yet. At most MOST_REQUESTS values."""
    due = np.sort(np.concatenate((samples.scheduled_ns, samples.unfinished_scheduled_ns)))
    departed = np.sort(np.maximum(samples.departed_ns, samples.scheduled_ns))
    changes = np.unique(np.concatenate((due, departed, [tracks.zero_ns])))
    changes = changes[(changes >= tracks.zero_ns) & (changes <= tracks.end_ns)]
    changes = changes[:: -(-len(changes) // MOST_REQUESTS)]
    waiting = np.searchsorted(due, changes, "right") - np.searchsorted(departed, changes, "right")
    is_new = np.diff(waiting, prepend=-1) != 0
    where = tracks.at("requests", "waiting")
    for at, number in zip(tracks.times(changes[is_new]), waiting[is_new].tolist(), strict=True):
        yield {"name": "waiting", "ph": "C", **where, "ts": at, "args": {"requests": number}}


def _single_requests(
    tracks: _Tracks, result: Result, shown: Samples, first_row: int
) -> Iterator[TraceEvent]:
    """Requests from the first one that counts, each with its time in the queue and in its batch."""
    begin = int(np.argmax(counted_samples(shown, result.window.counted)[0]))
    begin = min(begin, max(0, len(shown) - MOST_SINGLE_REQUESTS))
    part = shown.rows(slice(begin, begin + MOST_SINGLE_REQUESTS))
    stamps = np.stack(
        [
            part.scheduled_ns,
            np.maximum(part.scheduled_ns, part.opened_ns),
            part.departed_ns,
            part.completed_ns,
        ]
    )
    stamps = np.maximum.accumulate(stamps, axis=0)
    where = tracks.at("requests", "each request")
    columns = zip(*map(tracks.times, stamps), part.batch.tolist(), strict=True)
    for row, (due, ready, departed, completed, batch) in enumerate(columns, first_row + begin):
        same: TraceEvent = {"cat": "request", "id": str(row), **where}
        args = {"row of the sample file": row, "batch": batch}
        yield {"name": "request", "ph": "b", "ts": due, **same, "args": args}
        inner = ("queue", due, ready), ("batching", ready, departed), ("batch", departed, completed)
        for name, begin, end in inner:
            if end > begin:
                yield {"name": name, "ph": "b", "ts": begin, **same}
                yield {"name": name, "ph": "e", "ts": end, **same}
        yield {"name": "request", "ph": "e", "ts": completed, **same}


def _batches(tracks: _Tracks, result: Result, shown: Samples) -> Iterator[TraceEvent]:
    """The batches of each worker with their stages in them, and what the devices did for them."""
    starts = shown.batch_starts
    batches = shown.rows(starts)
    ready = np.minimum.reduceat(np.maximum(shown.scheduled_ns, shown.opened_ns), starts)
    begins = np.minimum(ready, batches.departed_ns)
    # "batching" is that of the request that waited longest. In all other stages they are together.
    stages = stages_ns(batches) | {"batching": batches.departed_ns - begins}
    parts = {name: np.maximum(0, stages[name]) for name in _IN_BATCH if name in stages}
    rows = result.window.counted
    counted = np.add.reduceat(counted_samples(shown, rows)[0].astype(np.int64), starts)
    sizes = np.diff(starts, append=len(shown))
    columns = batches.batch.tolist(), sizes.tolist(), counted.tolist()
    args: list[Mapping[str, Arg]] = [
        {"batch": batch, "requests": size, "counted": counts}
        for batch, size, counts in zip(*columns, strict=True)
    ]
    workers: list[int] = batches.worker.tolist()
    yield from _drawn(tracks, ["workers"] * len(workers), workers, begins, parts, args, "batch")
    if batches.device_ns is not None:
        devices = result.spec.devices
        parts = {name: parts[name] for name in _ON_DEVICE if name in parts}
        groups = [devices[worker % len(devices)] for worker in workers]
        yield from _drawn(tracks, groups, workers, batches.device_ns[:, 0], parts, args)


def _gpu_readings(tracks: _Tracks, result: Result) -> Iterator[TraceEvent]:
    """Counters: the clock and the power of each GPU, while requests are shown."""
    rows = result.window.counted
    for gpu in result.device.gpus if result.device and rows else ():
        if rows is None or (readings := gpu.readings) is None:
            continue
        first_s, last_s = ((at - rows.from_ns) / 1e9 for at in (tracks.zero_ns, tracks.end_ns))
        counters = ("SM clock", "MHz", readings.sm_clock_mhz), ("power", "W", readings.power_w)
        for name, unit, values in counters:
            known = [
                (max(tracks.zero_ns, rows.from_ns + round(s * 1e9)), value)
                for s, value in zip(readings.seconds, values, strict=True)
                if value is not None and first_s <= s <= last_s
            ]
            times = tracks.times(np.array([stamp_ns for stamp_ns, _ in known], np.int64))
            for at, (_, value) in zip(times, known, strict=True):
                where = tracks.at(gpu.device, name)
                yield {"name": name, "ph": "C", **where, "ts": at, "args": {unit: value}}


def _drawn(
    tracks: _Tracks,
    groups: Sequence[str],
    workers: Sequence[int],
    begins_ns: Nanoseconds,
    parts_ns: Mapping[str, Nanoseconds],
    args: Sequence[Mapping[str, Arg]],
    outer: str | None = None,
) -> Iterator[TraceEvent]:
    """The parts of each batch, one after another, inside a slice with the name `outer`."""
    ends_ns = begins_ns + np.cumsum([np.zeros_like(begins_ns), *parts_ns.values()], axis=0)
    lanes = _lanes(workers, begins_ns.tolist(), ends_ns[-1].tolist())
    places = list(zip(groups, workers, lanes, strict=True))
    at = {
        (group, worker, lane): tracks.at(
            group, f"worker {worker}" + (f", in flight {lane + 1}" if lane else "")
        )
        for group, worker, lane in sorted(set(places))
    }
    begins = [tracks.times(each) for each in ends_ns[:-1]]
    durations = [microseconds(each) for each in parts_ns.values()]
    spans = microseconds(ends_ns[-1] - begins_ns)
    for n, place in enumerate(places):
        where = at[place]
        if outer is not None:
            whole = {"ts": begins[0][n], "dur": spans[n], "args": args[n]}
            yield {"name": outer, "ph": "X", **where, **whole}
        for name, begin, duration in zip(parts_ns, begins, durations, strict=True):
            if duration[n]:
                part = {"ts": begin[n], "dur": duration[n]}
                inside = {} if outer else {"args": args[n]}
                yield {"name": name, "ph": "X", **where, **part, **inside}


def _lanes(workers: Sequence[int], begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Numbers for the batches of each worker, different for those that are in flight together."""
    lanes = [0] * len(workers)
    busy: dict[int, list[tuple[int, int]]] = {}  # of each worker: (when it is free, lane)
    for n in sorted(range(len(workers)), key=begins.__getitem__):
        heap = busy.setdefault(workers[n], [])
        is_free = heap and heap[0][0] <= begins[n]
        lanes[n] = heapq.heappop(heap)[1] if is_free else len(heap)
        heapq.heappush(heap, (ends[n], lanes[n]))
    return lanes
