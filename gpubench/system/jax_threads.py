"""The CPU threads of JAX. All functions of a process share one pool of them (XLA:CPU).

The threads that call a function do not compute. So the pool of a cell has one thread for each CPU
thread of each worker. XLA reads its size from the environment variable NPROC when the pool starts,
which is when JAX is used for the first time. It cannot change later.

Source: DefaultThreadPoolSize in xla/pjrt/utils.cc.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpubench.errors import GpubenchError

_SIZE = "NPROC"
_THREAD_NAME = "tf_XLAEigen"  # of the threads that share the work of one operation


def start(threads: int) -> None:
    """Start JAX with `threads` CPU threads, unless this process has started it already.

    On a GPU it takes memory when it needs it, and not most of it at once.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    before = os.environ.get(_SIZE)
    os.environ[_SIZE] = str(threads)
    try:
        jax.local_devices(backend="cpu")
    finally:
        if before is None:
            del os.environ[_SIZE]
        else:
            os.environ[_SIZE] = before


def refuse_other_number(threads: int) -> None:
    """Raises GpubenchError if the pool of this process has another number of threads."""
    started = _started()
    if started and started != threads:
        raise GpubenchError(
            f"JAX has started with {started} CPU threads in this process, and this cell needs "
            f"{threads} (--workers times --threads), which JAX cannot change; measure it with a "
            "separate gpubench run"
        )


def _started() -> int:
    """The number of threads of the pool; 0 if they cannot be found."""
    names = Path("/proc/self/task").glob("*/comm")
    return sum(name.read_text().strip() == _THREAD_NAME for name in names)
