# Written by tests/python/core_stubs.py.
"""
GPUs: devices, memory, and executors that replay graphs. The design is in docs/cuda.md.
"""

from __future__ import annotations
import collections.abc
import gpubench._core
import numpy
import numpy.typing
import typing

class Device:
    """
    A GPU of this machine.
    """
    @property
    def compute_capability(self) -> tuple[int, int]:
        """
        (8, 6), for example.
        """
    @property
    def index(self) -> int:
        """
        As in cuda:0.
        """
    @property
    def memory_bytes(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def pci_bus_id(self) -> str:
        """
        0000:00:1E.0, for example.
        """
    @property
    def uuid(self) -> str:
        """
        As nvidia-smi prints it: GPU-...
        """

class PinnedBuffer:
    """
    Page-locked memory of the host, zeros in the beginning.
    """
    def __init__(self, device: int, bytes: int) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def array(self) -> numpy.typing.NDArray[numpy.uint8]:
        """
        The memory itself, as a writeable line of uint8 that keeps the buffer alive.
        """
    @property
    def bytes(self) -> int: ...

class DeviceBuffer:
    """
    Memory of a device; torch.as_tensor() takes it as uint8, uncopied.
    """
    def __init__(self, device: int, bytes: int) -> None: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        """
        https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
        """
    @property
    def address(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class Payloads:
    """
    What requests bring: one uint8 array an input tensor, of shape (distinct requests, bytes). A request with id i brings row i % count. Copied; workers can share it. In a batch the requests lie side by side, tensor after tensor.
    """
    def __init__(
        self, tensors: collections.abc.Sequence[numpy.typing.NDArray[numpy.uint8]]
    ) -> None: ...
    def arena_bytes(self, requests: int) -> int:
        """
        How long that arena is.
        """
    def offsets(self, requests: int) -> list[int]:
        """
        Where each input tensor of such a batch begins in its slot's arena.
        """
    @property
    def count(self) -> int:
        """
        Distinct requests.
        """

class Slot:
    """
    A place for one batch in flight. `graphs`: {requests: (executable graph, input bytes, output bytes)}; a batch takes the smallest that holds it. Without host_input the graphs read what lies on the device; without host_output their outputs stay there.
    """
    def __init__(
        self,
        graphs: collections.abc.Mapping[int, tuple[int, int, int]],
        host_input: PinnedBuffer | None = None,
        device_input: int = 0,
        device_output: int = 0,
        host_output: PinnedBuffer | None = None,
    ) -> None: ...

class ClockFit:
    """
    How a run's device stamps came to the host's clock.
    """
    @property
    def contradiction_ns(self) -> int:
        """
        How far the line breaks the constraint that it breaks most.
        """
    @property
    def drift_ppm(self) -> float:
        """
        By how much the host's clock gains on the device's.
        """
    @property
    def largest_shift_ns(self) -> int: ...
    @property
    def largest_squeeze_ns(self) -> int: ...
    @property
    def shifted_batches(self) -> int:
        """
        Batches moved into [submitted, completed].
        """
    @property
    def squeezed_batches(self) -> int:
        """
        Batches that lasted longer on the device than the host saw them.
        """
    @property
    def width_ns(self) -> int | None:
        """
        What remains unknown of a device stamp's place; None where clocks contradict.
        """

class GraphExecutor(gpubench._core.Executor):
    """
    Replays executable graphs: a batch is a copy to the device, a graph launch and a copy back, with one stream per slot. `owner` is kept alive until the device has finished with the graphs.
    """
    def __init__(
        self,
        device: int,
        slots: collections.abc.Sequence[Slot],
        payloads: Payloads | None = None,
        *,
        owner: object,
    ) -> None: ...
    @property
    def clock(self) -> ClockFit | None:
        """
        Of the last run; None where it had no batch.
        """
    @property
    def device(self) -> int:
        """
        Its number, as in cuda:0.
        """
    @property
    def enqueue_ns(self) -> int:
        """
        Host time of all their launches together.
        """
    @property
    def launches(self) -> int:
        """
        Graphs, in the last run.
        """
    @property
    def padded(self) -> int:
        """
        Requests computed for nobody in the last run.
        """

class SyntheticExecutor(GraphExecutor):
    """
    A graph with a kernel of known duration, whatever the batch's size: an int, or an int64 array used in turn. Requests bring and get back so many bytes each; 0: nothing is copied.
    """
    def __init__(
        self,
        device: int,
        service_ns: int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int],
        *,
        depth: int = 1,
        max_batch: int = 1,
        request_bytes: int = 0,
        reply_bytes: int = 0,
    ) -> None: ...

class EventCheck:
    """
    What events say of a kernel of one length, and what the kernel says. Medians over the repeats, in nanoseconds.
    """
    @property
    def empty_ns(self) -> int:
        """
        Between events around a kernel that does nothing.
        """
    @property
    def error_ns(self) -> int:
        """
        event_ns - empty_ns - kernel_ns.
        """
    @property
    def event_ns(self) -> int:
        """
        Between the events around it.
        """
    @property
    def kernel_ns(self) -> int:
        """
        By %globaltimer, within tick_ns.
        """
    @property
    def largest_error_ns(self) -> int:
        """
        The one farthest from 0 among the repeats.
        """
    @property
    def length_ns(self) -> int:
        """
        Asked of the kernel.
        """
    @property
    def tick_ns(self) -> int:
        """
        The step in which %globaltimer moves.
        """

def check_event_clock(
    device: int, lengths_ns: collections.abc.Sequence[int], repeats: int
) -> list[EventCheck]:
    """
    Launches a kernel of known length between two events, `repeats` times for each of `lengths_ns`; one row a length. The device should be idle otherwise. Raises ValueError for bad arguments, CudaUnavailable where there is no such GPU, RuntimeError for errors of the driver.
    """

def devices() -> list[Device]:
    """
    The GPUs of this machine, in the order of CUDA_VISIBLE_DEVICES. Raises CudaUnavailable where there is none.
    """

def driver_version() -> int:
    """
    The CUDA version that the NVIDIA driver was made for: 12080 is 12.8. Raises CudaUnavailable.
    """
