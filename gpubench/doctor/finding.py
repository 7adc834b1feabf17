"""One thing looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """`problem`: gpubench cannot measure what this machine seems meant for.

    `warning`: it can, and the figures suffer or say less.
    """

    check: str  # "governor", "cuda:0"
    status: Status
    found: str
    remedy: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warning(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "warning", found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "problem", found, remedy)


def from_error(check: str, error: Exception) -> Finding:
    """A problem from one of gpubench's errors, which say what is wrong; and then what to do."""
    found, _, remedy = " ".join(str(error).split()).partition("; ")
    return Finding(check, "problem", found, remedy or None)
