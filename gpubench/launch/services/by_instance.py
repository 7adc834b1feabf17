"""Options whose value may differ between the types of instance of a launch."""

from __future__ import annotations

from collections.abc import Mapping

from gpubench.errors import InputError, nearest
from gpubench.launch.services.service import Launch, MachineFleet

# By type of instance. The key None is for all types that are not named.
ByInstance = Mapping[str | None, str]


def check_instances(values: ByInstance, flag: str, launch: Launch) -> None:
    """Raises InputError if a value is for a type of instance that the launch does not have."""
    known = [fleet.instance for fleet in launch.fleets if fleet.instance is not None]
    for instance, value in values.items():
        if instance is not None and instance not in known:
            hint = nearest(instance, known) if known else "the sweep names no type of instance"
            raise InputError(f"{flag} {f'{instance}={value}'!r}: this type is not measured; {hint}")


def value_for(values: ByInstance, fleet: MachineFleet) -> str | None:
    """The value for a fleet: that of its type of instance, else the one for all types."""
    return values.get(fleet.instance, values.get(None))
