"""The rules of the Trace Event Format, and what Perfetto makes of the numbers in it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Slice:
    """Nanoseconds."""

    name: str
    begin: int
    end: int
    args: dict[str, Any]


@dataclass(frozen=True)
class Read:
    """A trace as Perfetto reads it. Tracks are 'group/track'."""

    slices: dict[str, list[Slice]]
    counters: dict[str, list[tuple[int, int]]]
    single: list[Slice]  # asynchronous slices; `args` has their id


def nanoseconds(us: float) -> int:
    return int(us * 1000.0)  # as Perfetto: it truncates


def read(text: str) -> Read:
    """Checks every rule, and returns what is on each track."""
    document = json.loads(text)
    events: list[Event] = document["traceEvents"]
    assert {event["ph"] for event in events} <= set("MXCbe")
    names = {
        (event["name"], event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["ph"] == "M" and event["name"].endswith("_name")
    }
    groups = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
    slices: dict[str, list[Slice]] = defaultdict(list)
    counters: dict[str, list[tuple[int, int]]] = defaultdict(list)
    begun: dict[tuple[str, str, int], list[Event]] = defaultdict(list)
    single: list[Slice] = []
    for event in (event for event in events if event["ph"] != "M"):
        assert isinstance(event["name"], str)
        assert event["ts"] >= 0
        track = names["thread_name", event["pid"], event["tid"]]
        at = f"{groups[event['pid']]}/{track}"
        begin = nanoseconds(event["ts"])
        match event["ph"]:
            case "X":
                assert event["dur"] >= 0
                end = begin + nanoseconds(event["dur"])
                slices[at].append(Slice(event["name"], begin, end, event.get("args", {})))
            case "C":
                [value] = event["args"].values()
                counters[at].append((begin, value))
            case "b":
                begun[event["cat"], event["id"], event["pid"]].append(event)
            case "e":
                first = begun[event["cat"], event["id"], event["pid"]].pop()
                assert first["name"] == event["name"]
                assert first["ts"] <= event["ts"]
                args = {"id": event["id"]} | first.get("args", {})
                single.append(Slice(event["name"], nanoseconds(first["ts"]), begin, args))
    assert not any(begun.values())
    for on_track in slices.values():
        assert_nested(on_track)
    for values in counters.values():
        assert all(value >= 0 for _, value in values)
        assert [at for at, _ in values] == sorted({at for at, _ in values})
    return Read(slices, counters, single)


def assert_nested(slices: list[Slice]) -> None:
    """Slices of a track are apart, or one is inside the other."""
    open_slices: list[Slice] = []
    for each in sorted(slices, key=lambda s: (s.begin, -s.end)):
        while open_slices and open_slices[-1].end <= each.begin:
            open_slices.pop()
        assert not open_slices or each.end <= open_slices[-1].end, (open_slices[-1], each)
        open_slices.append(each)
