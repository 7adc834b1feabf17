"""Waits until the hardware of a cell is cool enough, before its warm-up (--cool-to).

A cell that begins on hot hardware, after a cell that made it hot, may run at a lower clock than the
same cell on cool hardware. This matters most without a fan, as on many edge devices. The wait comes
after the engine is built, because building heats the hardware as well. It ends after
LONGEST_WAIT_S: the cell is then measured, and its verdict says that it was too warm.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gpubench.errors import GpubenchError
from gpubench.results.result import Cooling
from gpubench.spec.cell import Cell
from gpubench.system.temperature import Thermometer, thermometer

LONGEST_WAIT_S = 600.0
_PERIOD_S = 0.5  # between two readings


def cool_down(cell: Cell) -> Cooling | None:
    """Wait as --cool-to says. None without it. Raises GpubenchError if the sensor is gone."""
    if cell.cool_to_c is None:
        return None
    sensor = thermometer(cell.devices)
    if sensor is None:
        raise GpubenchError("--cool-to: no temperature can be read any more; remove it")
    return wait_until_cool(sensor, cell.cool_to_c)


def wait_until_cool(
    sensor: Thermometer,
    most_c: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Cooling:
    """Wait until `sensor` shows at most `most_c`, in degrees Celsius, or for LONGEST_WAIT_S.

    Tests give `clock` and `sleep`. Raises GpubenchError if the sensor gives no temperature.
    """
    began = clock()
    first_c = now_c = _reading(sensor)
    while now_c > most_c and clock() - began < LONGEST_WAIT_S:
        sleep(_PERIOD_S)
        now_c = _reading(sensor)
    return Cooling(
        sensor=sensor.name,
        limit_c=most_c,
        first_c=first_c,
        temperature_c=now_c,
        waited_seconds=round(clock() - began, 3),
    )


def _reading(sensor: Thermometer) -> float:
    now_c = sensor.hottest_c()
    if now_c is None:
        raise GpubenchError(
            f"--cool-to: the sensor ({sensor.name}) gives no temperature any more; remove it"
        )
    return now_c
