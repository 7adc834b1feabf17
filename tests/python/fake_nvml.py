"""NVML as an object: figures that a test sets, and faults on demand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NvmlError(Exception):
    """As `pynvml.NVMLError`."""


class FakeNvml:
    """One board, and one slice of it where `mig` is true. Handles are strings."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *, mig: bool = False, fails: str | None = None) -> None:
        """`fails` names a function that this GPU does not support."""
        self.mig, self.fails = mig, fails
        self.energy_mj = 5_000_000
        self.power_mw = 120_000
        self.events = 0x4
        self.pids = [4711]
        self.process_bytes: int | None = 1 << 30  # of each process
        self.uuids = {"MIG-1" if mig else "GPU-1": "slice" if mig else "board"}
        self.shut_down = False

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name == object.__getattribute__(self, "fails"):
            return self._unsupported
        return object.__getattribute__(self, name)

    def _unsupported(self, *_: object) -> Any:
        raise NvmlError("Not Supported")

    def nvmlInit(self) -> None:
        pass

    def nvmlShutdown(self) -> None:
        self.shut_down = True

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.uuids:
            raise NvmlError("Not Found")
        return self.uuids[uuid]

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> str:
        if bus_id != "0000:01:00.0":
            raise NvmlError("Not Found")
        return "board"

    def nvmlDeviceGetMigMode(self, handle: object) -> list[int]:
        return [int(self.mig)] * 2

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: object) -> str:
        assert handle == "slice"
        return "board"

    def nvmlDeviceGetClockInfo(self, handle: object, clock: int) -> int:
        assert handle == "board"
        return {1: 1410, 2: 6251}[clock]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int:
        assert handle == "board"
        return self.events

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:
        raise NvmlError("Function Not Found")

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        return self.power_mw

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object) -> int:
        return 150_000

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: object) -> int:
        return 150_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        self.energy_mj += 1_000
        return self.energy_mj

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        return 61

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Any:
        return SimpleNamespace(gpu=97)

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Any:
        return SimpleNamespace(used=2 << 30 if handle == "board" else 1 << 30)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=self.process_bytes) for pid in self.pids]
