"""Captures a block of operations as a CUDA graph. A capture that fails leaves no trace in torch.

After a failed capture, torch leaves three things as they were during the capture:

- Before torch 2.12, the memory allocator still records into the pool of the capture. The process
  then aborts when any torch.cuda.MemPool is freed (https://github.com/pytorch/pytorch/pull/180395).
  The memory of the pool is never freed. Some newer versions do not free it either
  (https://github.com/pytorch/pytorch/pull/190308); it then stays reserved until the process ends.
- The random number generator of the device expects a capture. Its next use outside a capture
  raises "Offset increment outside graph capture encountered unexpectedly".
- The stream of the capture is still the current stream.

The first two were seen on an H100 with torch 2.11, and they were gone after what `_undo` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gpubench.errors import GpubenchError, reason_of


class CaptureError(GpubenchError):
    """The operations cannot be captured. The message is the reason, in one line."""


@contextmanager
def capturing(
    graph: torch.cuda.CUDAGraph,
    stream: torch.cuda.Stream,
    memory: Any,  # a handle; its type is private to torch
    device: torch.device,
) -> Iterator[None]:
    """Capture the operations of the block into `graph`, on `stream`, with `memory` as its pool.

    If the capture fails, torch is as if no capture had been tried. Raises CaptureError with the
    reason: the first error, since torch raises a second one when it ends the capture.
    """
    first: BaseException | None = None
    reason: str | None = None
    torch._C._cuda_clearCublasWorkspaces()
    try:
        with (
            torch.cuda.stream(torch.cuda.current_stream()),  # restores it at the end
            torch.cuda.graph(graph, pool=memory, stream=stream, capture_error_mode="thread_local"),
        ):
            try:
                yield
            except BaseException as error:
                first = error
                raise
    except BaseException as error:
        _undo(memory, device)
        if first is not None and not isinstance(first, Exception):
            raise first from None  # Ctrl-C
        reason = reason_of(first or error)
    finally:
        first = None
        torch._C._cuda_clearCublasWorkspaces()
    # Raised here, without a link to the errors above: their tracebacks refer to each other, so only
    # the garbage collector would free them, and the tensors and pools of their frames.
    if reason is not None:
        raise CaptureError(reason)


def _undo(memory: Any, device: torch.device) -> None:
    """Undo what a failed capture with the pool `memory` has left in torch."""
    try:
        torch._C._cuda_endAllocateToPool(device.index, memory)
    except RuntimeError:  # torch 2.12 and newer have ended it
        pass
    else:
        torch._C._cuda_releasePool(device.index, memory)
    # A capture that succeeds resets the generator. A device that no longer works is reported later.
    with suppress(RuntimeError):
        nothing = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            nothing, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"
        ):
            torch.zeros(1, device=device)
