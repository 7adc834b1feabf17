"""The finding of one check, and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    `problem`: gpubench cannot measure with a part of this machine, for example its GPU.
    `warning`: it can measure, but some figures are worse or absent.
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
    """A problem from one of gpubench's errors, which have the form 'what is wrong; remedy'."""
    found, _, remedy = " ".join(str(error).split()).partition("; ")
    return Finding(check, "problem", found, remedy or None)
