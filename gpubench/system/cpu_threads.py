"""CPU threads: while a cell is measured, the process has only the thread pools of its workers.

OpenMP keeps one pool of threads for every thread that has computed in parallel. libgomp counts the
threads of all pools. While there are more of them than cores, a pool's threads no longer spin
between two operations: they sleep at once, and each operation first has to wake them. A second
pool therefore slows a small model down to a third of its speed, even if that pool is idle.

Therefore a model is loaded, built and checked on a thread that ends before anything is measured
(`on_ending_thread`). Its pools end with it. A program that calls gpubench may have a pool of its
own on the thread that calls; `end_pools_of_this_thread` ends it, and the next parallel operation
on that thread starts a new one. The number of threads is set on each worker's thread, for every
OpenMP library in the process (`limited`), because OpenMP keeps it per thread.

Source: gomp_team_start and do_spin in libgomp (config/linux/wait.h, GCC).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController, threadpool_limits

from gpubench.system.interrupts import Deferral

_OMP_PAUSE_HARD = 2  # omp_pause_hard of OpenMP 5.0: the threads of the pool end

_Returned = TypeVar("_Returned")


def on_ending_thread(work: Callable[[], _Returned]) -> _Returned:
    """Call `work` on a new thread that has ended when this function returns.

    Returns what `work` returns, and raises what it raises. A signal that ends the program reaches
    only the main thread. It is passed on to `work` as KeyboardInterrupt.
    """
    outcome: Future[_Returned] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    thread = Thread(target=run, name="gpubench-prepare", daemon=True)
    with Deferral() as deferral:  # a thread cannot be interrupted while it starts
        deferral.begin()
        thread.start()
    try:
        if deferral.pressed:
            raise KeyboardInterrupt
        return outcome.result()
    except KeyboardInterrupt:
        if not outcome.done():
            _interrupt(thread)
        raise
    finally:
        thread.join()


def _interrupt(thread: Thread) -> None:
    """Raise KeyboardInterrupt in `thread`, as soon as it runs Python code again."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
    )


def end_pools_of_this_thread() -> None:
    """End the OpenMP pools of the calling thread, if its libraries can do that.

    libgomp can do it since GCC 9, the libraries of LLVM and Intel since OpenMP 5.0.
    """
    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        with suppress(AttributeError):
            library.dynlib.omp_pause_resource_all(_OMP_PAUSE_HARD)


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Inside the block, the calling thread computes with `threads` threads in every library.

    OpenBLAS has one pool for the whole process, so its limit is that of the last call.
    """
    import torch

    torch.set_num_threads(threads)  # this includes MKL, which is part of torch
    _take_control_of_openblas()
    with threadpool_limits(threads):
        yield


def _take_control_of_openblas() -> None:
    """Let the calling thread set the limit of OpenBLAS.

    Since version 3.8, threadpoolctl ignores every thread but the first that set a limit, for as
    long as that thread lives. A worker that hangs in foreign code would so keep its limit for the
    cells that follow. Older versions have no such rule.
    Source: OpenBLASController.set_num_threads in threadpoolctl.
    """
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


def set_interop_threads(threads: int) -> None:
    """Set the number of threads for parallel branches (torch.jit.fork) of all workers together.

    torch accepts the number only once in a process, before the first such branch has run.
    """
    import torch

    with suppress(RuntimeError):  # "cannot set number of interop threads after parallel work ..."
        torch.set_num_interop_threads(threads)
