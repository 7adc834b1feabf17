"""Files that are costly to make and cheap to keep, under one folder, by the hash of their content's
origin. Safe under several processes: an entry appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
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


def save(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make the entry beside its place, then put it there in one step.

    A cache that cannot be written is no reason to fail: the entry is then simply absent.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError):  # torch reports a full disk as a RuntimeError
        if temporary is not None:
            temporary.unlink(missing_ok=True)
