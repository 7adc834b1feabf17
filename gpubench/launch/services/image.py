"""The name of the container image with gpubench, which services that run containers need."""

from __future__ import annotations

import re

from gpubench.errors import InputError

_NAME = re.compile(r"(?!.{513})[A-Za-z0-9][\w.:/@-]*", re.ASCII)


def check_image(name: str) -> None:
    """Raises InputError for what cannot be the name of an image."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--image {name!r} is not the name of an image; write one like registry/gpubench:1.0"
        )
