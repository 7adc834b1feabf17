"""Runs the command-line program of a service, such as kubectl, without a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from gpubench.errors import GpubenchError, InputError, shorten


class ProgramFailed(GpubenchError):
    """The program ended with an error. The message is the whole text of its stderr."""


def run_program(
    arguments: Sequence[str],
    installation: str,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    limit_s: float = 120.0,
) -> str:
    """The standard output of a program that gets `text` as its standard input.

    `environment` is added to that of this process. Raises InputError if the program is absent
    (`installation` says how to get it) or does not end within the limit, and ProgramFailed if its
    exit status is not 0.
    """
    name = arguments[0]
    path = shutil.which(name)
    if path is None:
        raise InputError(f"the program {name} is not on this machine; {installation}")
    try:
        done = subprocess.run(
            [path, *arguments[1:]],
            input=text.encode(),
            capture_output=True,
            env={**os.environ, **(environment or {})},
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{name} did not end within {limit_s:.0f} s; check that its service can be reached, "
            "and what it has started"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be started: {error.strerror}; {installation}") from None
    if done.returncode:
        raise ProgramFailed(_text(done.stderr) or _text(done.stdout) or f"status {done.returncode}")
    return _text(done.stdout)


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()


def last_line(failed: ProgramFailed) -> str:
    """The reason in one line. kubectl, sbatch and sky write it last."""
    lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
    return shorten(lines[-1].rstrip(". "))
