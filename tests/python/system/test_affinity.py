"""The cores of this process: set for all its threads, and given back."""

from __future__ import annotations

import os
from threading import Event, Thread

import pytest

from gpubench.system.affinity import on_cores, usable_now


def cores_of(thread: Thread) -> set[int]:
    assert thread.native_id is not None
    return os.sched_getaffinity(thread.native_id)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two cores")
def test_threads_that_exist_and_threads_that_start_run_on_the_cores_and_get_theirs_back() -> None:
    all_cores = os.sched_getaffinity(0)
    last = max(all_cores)
    ends = Event()
    older, newer = Thread(target=ends.wait), Thread(target=ends.wait)
    older.start()
    try:
        with on_cores({last}):
            newer.start()
            assert usable_now() == {last}
            assert cores_of(older) == cores_of(newer) == {last}
        assert usable_now() == all_cores
        assert cores_of(older) == cores_of(newer) == all_cores
    finally:
        ends.set()
        older.join()
        newer.join()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two cores")
def test_the_cores_are_given_back_after_an_error() -> None:
    all_cores = os.sched_getaffinity(0)
    with pytest.raises(KeyboardInterrupt), on_cores({min(all_cores)}):
        raise KeyboardInterrupt
    assert os.sched_getaffinity(0) == all_cores


def test_without_cores_nothing_changes() -> None:
    before = os.sched_getaffinity(0)
    with on_cores(None):
        assert os.sched_getaffinity(0) == before


def test_a_core_that_does_not_exist_is_an_error_and_changes_nothing() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(OSError, match="Invalid argument"), on_cores({8000}):
        pytest.fail("the block began")
    assert os.sched_getaffinity(0) == before
