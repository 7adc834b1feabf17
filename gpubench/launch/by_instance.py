"""Flags whose value may differ between the types of instance: `--queue g5.xlarge=ARN`."""

from __future__ import annotations

from collections.abc import Iterable

from gpubench.errors import InputError, nearest
from gpubench.launch.services import Fleet, Launch


def check_instances(values: Iterable[str], flag: str, launch: Launch) -> None:
    """Raises InputError if a value is for a type of instance that the launch does not have."""
    known = [fleet.instance for fleet in launch.fleets if fleet.instance is not None]
    seen: set[str] = set()
    for value in values:
        instance, equals, rest = value.partition("=")
        name = instance if equals else ""
        if not (rest if equals else value).strip():
            raise InputError(f"{flag} {value!r} has no value; write VALUE or INSTANCE=VALUE")
        if equals and instance not in known:
            hint = nearest(instance, known) if known else "the sweep names no type of instance"
            raise InputError(f"{flag} {value!r}: this type of instance is not measured; {hint}")
        if name in seen:
            raise InputError(f"{flag} {value!r} is given twice; remove one")
        seen.add(name)


def value_for(values: Iterable[str], fleet: Fleet) -> str | None:
    """The value for a fleet: that of its type of instance, else the one without a type."""
    general = None
    for value in values:
        instance, equals, rest = value.partition("=")
        if not equals:
            general = value
        elif instance == fleet.instance:
            return rest
    return general
