"""Keeps every test away from the user's own cache and prices, from how the shell started the tests,
and from the date, on which the marks of old prices depend.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import date

import pytest

# OpenMP reads this when torch is imported. By default its threads spin while they wait. Beside
# other programs, the same inferences then took four times as much CPU time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GPUBENCH_CACHE_DIR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GPUBENCH_LOCK_DIR", str(tmp_path_factory.mktemp("locks")))
        patch.setenv("GPUBENCH_ISOLATE", "0")  # tests replace functions of this process
        patch.delenv("GPUBENCH_PRICES", raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setattr("gpubench.pricing.age.today", lambda: date(2026, 11, 1))
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_of_the_tests() -> None:
    """A shell starts a job in the background with SIGINT ignored, and Python leaves it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _handlers_of_signals() -> Iterator[None]:
    """Each test leaves Ctrl-C as it found it. Otherwise a later test might wait for ever."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert after is before
