"""Tests of which objects a garbage collection leaves out."""

from __future__ import annotations

import gc

import pytest

from gpubench.system.garbage import LongLived


@pytest.mark.parametrize(
    ("left_out", "calls"),
    [
        (0, ["freeze", "unfreeze"]),
        (375, ["freeze", "unfreeze"]),  # as Python 3.12 does when it starts
        (50_000, []),  # the calling program did
    ],
)
def test_objects_are_left_out_unless_the_calling_program_decides(
    monkeypatch: pytest.MonkeyPatch, left_out: int, calls: list[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: left_out)
    monkeypatch.setattr(gc, "freeze", lambda: seen.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: seen.append("unfreeze"))
    long_lived = LongLived()
    long_lived.collect()
    long_lived.release()
    assert seen == calls
