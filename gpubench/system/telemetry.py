"""The state of the GPUs while a cell is measured. A separate thread reads it through NVML.

NVML is NVIDIA's library behind nvidia-smi. It is read a few times a second, outside of the measured
path. Figures that a GPU, its driver or a container does not report are None. An error here never
ends a measurement. The same thread reads the energy counters of the CPU: see gpubench.system.rapl.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar, cast

from gpubench.system.gpus import Gpu
from gpubench.system.rapl import Package

# Often enough to show the clocks in a window of seconds, and seldom enough not to disturb it: the
# measurement uses the same driver.
PERIOD_S = 0.2

# The program waits no longer than this for a call into a driver that hangs.
_PATIENCE_S = 2.0

# The causes of a clock below its maximum, by the bits of NVML's clock event reasons
# (https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html).
CLOCK_EVENTS = {
    0x001: "idle",
    0x002: "application-clocks",  # a clock that a user has set
    0x004: "power-cap",
    0x008: "hardware-slowdown",
    0x010: "sync-boost",
    0x020: "heat",
    0x040: "hardware-heat",
    0x080: "power-brake",
    0x100: "display-clocks",
}

# Heat and the hardware protections. The power limit is not among them, because every such card
# reaches it under full load.
HEAT_OR_PROTECTION = 0x008 | 0x020 | 0x040 | 0x080

_Handle = TypeVar("_Handle")  # a handle, or what leads to one: a UUID, a bus address
_Answer = TypeVar("_Answer")


class _Memory(Protocol):
    used: int


class _Utilization(Protocol):
    gpu: int


class _Process(Protocol):
    pid: int
    usedGpuMemory: int | None  # in bytes


class Nvml(Protocol):
    """The functions of the module `pynvml` that are used here. Handles are opaque."""

    NVML_CLOCK_SM: int
    NVML_CLOCK_MEM: int
    NVML_TEMPERATURE_GPU: int

    def nvmlInit(self) -> object: ...
    def nvmlShutdown(self) -> object: ...
    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> object: ...
    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str, /) -> object: ...
    def nvmlDeviceGetMigMode(self, handle: object, /) -> Sequence[int]: ...
    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: object, /) -> object: ...
    def nvmlDeviceGetClockInfo(self, handle: object, clock: int, /) -> int: ...
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object, /) -> int: ...
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object, /) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: object, /) -> int: ...
    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object, /) -> int: ...
    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: object, /) -> int: ...
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, /) -> int: ...
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int, /) -> int: ...
    def nvmlDeviceGetUtilizationRates(self, handle: object, /) -> _Utilization: ...
    def nvmlDeviceGetMemoryInfo(self, handle: object, /) -> _Memory: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: object, /) -> Sequence[_Process]: ...


def events_named(events: int) -> list[str]:
    """The names of the clock events whose bits are set."""
    return [name for bit, name in CLOCK_EVENTS.items() if events & bit]


@dataclass(frozen=True)
class Reading:
    """The state of one GPU at one moment. None: not reported."""

    time_ns: int  # on the clock of the samples
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    clock_events: int | None = None  # bits of CLOCK_EVENTS
    power_w: float | None = None  # from Ampere on (except GA100) the mean of the last second
    energy_j: float | None = None  # since the driver was loaded; of a package, since any moment
    temperature_c: int | None = None
    utilization_percent: int | None = None
    memory_used_bytes: int | None = None
    processes: int | None = None  # that compute on it, including this one
    process_memory_bytes: int | None = None  # of this process


# By device, "cuda:0" or "package-0". A GPU is missing if NVML is absent.
Readings = Mapping[str, Sequence[Reading]]


def load_nvml() -> Nvml | None:
    """NVML, ready to be asked; None if the package or the driver's library is not there."""
    try:
        nvml = cast(Nvml, importlib.import_module("pynvml"))
        nvml.nvmlInit()
    except Exception:
        return None
    return nvml


@contextmanager
def recorded(
    gpus: Sequence[Gpu],
    nvml: Nvml | None = None,
    period_s: float = PERIOD_S,
    packages: Sequence[Package] = (),
) -> Iterator[Readings]:
    """Read the state of `gpus`, and the energy of CPU `packages`, while the block runs.

    It reads at the beginning of the block, at its end, and in between. Readings are added while the
    block runs. Tests give `nvml`; by default it is loaded.
    """
    nvml = (nvml or load_nvml()) if gpus else None
    sensors: dict[str, Callable[[], Reading]] = {
        package.name: partial(_read_package, package) for package in packages
    }
    if nvml is not None:
        sensors |= {gpu.device: find(nvml, gpu).read for gpu in gpus}
    readings: dict[str, list[Reading]] = {name: [] for name in sensors}
    if not sensors:
        yield readings
        return

    def read_all() -> None:
        for name, read in sensors.items():
            readings[name].append(read())

    is_over = threading.Event()

    def read_repeatedly() -> None:
        while not is_over.wait(period_s):
            read_all()

    read_all()
    thread = threading.Thread(target=read_repeatedly, name="gpubench-telemetry", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        is_over.set()
        thread.join(_PATIENCE_S)
        if not thread.is_alive():
            read_all()
            _ask(nvml, lambda library: library.nvmlShutdown())


def _read_package(package: Package) -> Reading:
    return Reading(time_ns=time.monotonic_ns(), energy_j=package.energy_j())


@dataclass(frozen=True)
class Sensor:
    """Reads the state of a CUDA device through NVML.

    A MIG slice has the clocks and the temperature of its board, and its own memory and processes.
    It has no power meter: the power of the board includes that of the other slices.
    """

    nvml: Nvml
    board: object | None  # a handle; None: not found
    own: object | None  # the handle of the slice, or of the board
    is_slice: bool = False

    def read(self) -> Reading:
        nvml, board, own = self.nvml, self.board, self.own
        meter = None if self.is_slice else board
        processes = self.processes()
        return Reading(
            time_ns=time.monotonic_ns(),
            sm_clock_mhz=_ask(
                board, lambda at: nvml.nvmlDeviceGetClockInfo(at, nvml.NVML_CLOCK_SM)
            ),
            memory_clock_mhz=_ask(
                board, lambda at: nvml.nvmlDeviceGetClockInfo(at, nvml.NVML_CLOCK_MEM)
            ),
            clock_events=self.clock_events(),
            power_w=_ask(meter, lambda at: nvml.nvmlDeviceGetPowerUsage(at) / 1e3),
            energy_j=_ask(meter, lambda at: nvml.nvmlDeviceGetTotalEnergyConsumption(at) / 1e3),
            temperature_c=_ask(
                board, lambda at: nvml.nvmlDeviceGetTemperature(at, nvml.NVML_TEMPERATURE_GPU)
            ),
            utilization_percent=_ask(meter, lambda at: nvml.nvmlDeviceGetUtilizationRates(at).gpu),
            memory_used_bytes=_ask(own, lambda at: nvml.nvmlDeviceGetMemoryInfo(at).used),
            processes=len({process.pid for process in processes}) if processes else None,
            process_memory_bytes=_own_memory(processes),
        )

    def clock_events(self) -> int | None:
        nvml = self.nvml
        events = _ask(self.board, lambda at: nvml.nvmlDeviceGetCurrentClocksEventReasons(at))
        if events is None:  # drivers before 535 have only the older name
            events = _ask(self.board, lambda at: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(at))
        return events

    def processes(self) -> Sequence[_Process]:
        """The processes that compute on the device.

        The caller uses the GPU itself. So if the list is empty, a container hides it.
        """
        nvml = self.nvml
        return _ask(self.own, lambda at: nvml.nvmlDeviceGetComputeRunningProcesses(at)) or ()

    def power_limits_w(self) -> tuple[float, float] | None:
        """(power limit of the board, its default power limit)."""
        nvml = self.nvml
        now = _ask(self.board, lambda at: nvml.nvmlDeviceGetEnforcedPowerLimit(at) / 1e3)
        default = _ask(
            self.board, lambda at: nvml.nvmlDeviceGetPowerManagementDefaultLimit(at) / 1e3
        )
        return None if now is None or default is None else (now, default)


def _own_memory(processes: Sequence[_Process]) -> int | None:
    """The device memory of this process; None if it is not known which of several is this one.

    Inside a container NVML may list a process by its number outside. The only process of a list is
    this one, since it uses the GPU itself.
    """
    own = [process for process in processes if process.pid == os.getpid()]
    listed = own or processes
    if len({process.pid for process in listed}) != 1:
        return None
    return getattr(listed[0], "usedGpuMemory", None) or None


def find(nvml: Nvml, gpu: Gpu) -> Sensor:
    """The sensor of a CUDA device.

    CUDA has its own order of devices and leaves some out (CUDA_VISIBLE_DEVICES). So devices are
    matched by their UUIDs, or by their bus addresses if NVML does not know the UUID.
    """
    bare = gpu.uuid.removeprefix("GPU-").removeprefix("MIG-")
    board = _ask(f"GPU-{bare}", nvml.nvmlDeviceGetHandleByUUID)
    if board is not None:
        return Sensor(nvml, board, board)
    own = _ask(f"MIG-{bare}", nvml.nvmlDeviceGetHandleByUUID)
    if own is not None:
        board = _ask(own, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle)
        return Sensor(nvml, board, own, is_slice=True)
    board = _ask(gpu.pci_bus_id, nvml.nvmlDeviceGetHandleByPciBusId)
    mode = _ask(board, nvml.nvmlDeviceGetMigMode)
    if mode and mode[0]:  # one of the slices of the board, but it is unknown which
        return Sensor(nvml, board, None, is_slice=True)
    return Sensor(nvml, board, board)


def _ask(handle: _Handle | None, question: Callable[[_Handle], _Answer]) -> _Answer | None:
    """The answer of NVML. None without a handle or an answer.

    Every exception counts as no answer: the GPU does not support the call or is gone, the call is
    not permitted, or this pynvml does not have the function.
    """
    if handle is None:
        return None
    try:
        return question(handle)
    except Exception:
        return None
