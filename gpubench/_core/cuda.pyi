# Written by tests/python/core_stubs.py.
"""
GPUs: devices, memory, and executors that launch CUDA graphs. The design is in docs/cuda.md.
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
        The number in cuda:0.
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
    Page-locked memory of the host. All bytes are 0 at first.
    """
    def __init__(self, device: int, bytes: int) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def array(self) -> numpy.typing.NDArray[numpy.uint8]:
        """
        The memory as a writeable one-dimensional uint8 array, which keeps the buffer alive.
        """
    @property
    def bytes(self) -> int: ...

class DeviceBuffer:
    """
    Memory of a device; torch.as_tensor() takes it as uint8 without a copy.
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
    The input data of requests: one uint8 array for each input tensor, of shape (distinct requests, bytes). A request with id i has row i % count. The data is copied; workers can share it. In the memory of a batch the input tensors come one after another, each for all requests. With `pinned_on`, the number of a device, the data is in pinned memory, from which the device copies the inputs of a batch.
    """
    def __init__(
        self,
        tensors: collections.abc.Sequence[numpy.typing.NDArray[numpy.uint8]],
        pinned_on: int | None = None,
    ) -> None: ...
    def arena_bytes(self, requests: int) -> int:
        """
        The size of the memory of a batch of so many requests.
        """
    def gathers(self, most_requests: int) -> bool:
        """
        Whether the CPU gathers inputs of batches of up to so many requests. Then their slots need a host_input.
        """
    def offsets(self, requests: int) -> list[int]:
        """
        The offset of each input tensor in the memory of a batch of so many requests.
        """
    @property
    def count(self) -> int:
        """
        Distinct requests.
        """
    @property
    def pinned(self) -> bool: ...

class Slot:
    """
    A slot for one batch in flight. `graphs`: {requests: (executable graph, input bytes, output bytes)}; a batch uses the smallest one that is large enough. In host_input the CPU gathers inputs; device_input is where they are copied to. Without host_output the outputs stay on the device.
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
    How the device time stamps of a run were placed on the host's clock.
    """
    @property
    def contradiction_ns(self) -> int:
        """
        The largest violation of a constraint by the fitted line.
        """
    @property
    def drift_ppm(self) -> float:
        """
        How much faster the host's clock runs than the device's.
        """
    @property
    def largest_shift_ns(self) -> int: ...
    @property
    def largest_squeeze_ns(self) -> int: ...
    @property
    def shifted_batches(self) -> int:
        """
        Batches that were shifted into [submitted, completed].
        """
    @property
    def squeezed_batches(self) -> int:
        """
        Batches that were longer on the device than [submitted, completed], and were shortened.
        """
    @property
    def width_ns(self) -> int | None:
        """
        The uncertainty of a device time stamp on the host's clock; None if the constraints contradict each other.
        """

class GraphExecutor(gpubench._core.Executor):
    """
    Executes batches with CUDA graphs: a batch is one or more copies to the device, a graph launch and a copy to the host, with one stream for each slot. Without payloads the graphs read inputs that are on the device already. `owner` is kept alive until the device has finished with the graphs. With takes_turns, which is for closed loops, the requests of each batch take the payloads that follow those of the last batch; otherwise the id of a request chooses its payload.
    """
    def __init__(
        self,
        device: int,
        slots: collections.abc.Sequence[Slot],
        payloads: Payloads | None = None,
        *,
        owner: object,
        takes_turns: bool = False,
    ) -> None: ...
    @property
    def clock(self) -> ClockFit | None:
        """
        The fit of the last run; None if it had no batch.
        """
    @property
    def device(self) -> int:
        """
        The number in cuda:0.
        """
    @property
    def enqueue_ns(self) -> int:
        """
        Host time of all graph launches of the last run.
        """
    @property
    def fills_inputs(self) -> bool:
        """
        Whether the CPU gathers the inputs of a batch before it is submitted.
        """
    @property
    def launches(self) -> int:
        """
        Graph launches in the last run.
        """
    @property
    def padded(self) -> int:
        """
        Requests that padded batches to a graph size in the last run.
        """

class SyntheticExecutor(GraphExecutor):
    """
    Each batch is a graph with a kernel of known duration, whatever its size: an int, or an int64 array of which each batch takes the next entry. request_bytes and reply_bytes are copied to and from the device for each request; 0: nothing is copied. With pinned_inputs the requests are in pinned memory, from which the device copies them.
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
        pinned_inputs: bool = False,
    ) -> None: ...

class EventCheck:
    """
    The duration of a kernel by events and by the kernel itself. Medians over the repeats, in nanoseconds.
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
        Between the events around the kernel.
        """
    @property
    def kernel_ns(self) -> int:
        """
        Measured by the kernel with %globaltimer, which has steps of tick_ns.
        """
    @property
    def largest_error_ns(self) -> int:
        """
        The error of the repeat that is farthest from 0.
        """
    @property
    def length_ns(self) -> int:
        """
        The requested duration.
        """
    @property
    def tick_ns(self) -> int:
        """
        The step of %globaltimer.
        """

def check_event_clock(
    device: int, lengths_ns: collections.abc.Sequence[int], repeats: int
) -> list[EventCheck]:
    """
    Launches a kernel of known length between two events, `repeats` times for each of `lengths_ns`. Returns one row for each length. The device should be idle otherwise. Raises ValueError for bad arguments, CudaUnavailable if there is no such GPU, RuntimeError for errors of the driver.
    """

def devices() -> list[Device]:
    """
    The GPUs of this machine, in the order of CUDA_VISIBLE_DEVICES. Raises CudaUnavailable if there is none.
    """

def driver_version() -> int:
    """
    The CUDA version that the NVIDIA driver was made for: 12080 is 12.8. Raises CudaUnavailable.
    """
