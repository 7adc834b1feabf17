"""Files that are costly to make and cheap to keep, under one folder, by the hash of their content's
origin. Safe under several processes: an entry appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path


def cache_dir() -> Path:
    """$GPUBENCH_CACHE_DIR, else gpubench/ in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("GPUBENCH_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpubench"


def entry(kind: str, origin: dict[str, object], suffix: str) -> Path:
    """The place of what `origin` makes: everything that its content depends on must be in it."""
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir() / kind / f"{digest}{suffix}"


def save(path: Path, write: Callable[[Path], None]) -> Path:
    """Have `write` make the entry beside its place, then put it there in one step.

    Returns where the entry is: a cache that cannot be written is no reason to fail, and the entry
    is then in a folder that lasts as long as this process. Raises what `write` raises.
    """
    try:
        temporary = _beside(path)
    except OSError:
        path = Path(_scratch().name) / path.name
        temporary = _beside(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _beside(path: Path) -> Path:
    """An empty file in the folder of `path`, with its suffix: some writers look at that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@lru_cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gpubench-")
