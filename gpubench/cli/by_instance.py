"""Flags whose value may differ between the types of instance: `--queue g5.xlarge=NAME`."""

from __future__ import annotations

from gpubench.errors import InputError


def by_instance(values: tuple[str, ...], flag: str) -> dict[str | None, str]:
    """A repeatable flag [TYPE=]NAME. Raises InputError for an empty part, and for a type twice.

    The key None is for all types that are not named.
    """
    found: dict[str | None, str] = {}
    for value in values:
        instance, separator, name = value.rpartition("=")
        if not name.strip() or (separator and not instance.strip()):
            raise InputError(f"{flag} {value!r}: write a name, or TYPE=NAME")
        key = instance.strip() or None
        if key in found:
            raise InputError(f"{flag}: {key or 'the name for all types'} is there twice")
        found[key] = name.strip()
    return found
