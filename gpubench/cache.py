"""Files that are costly to make and cheap to keep, under one folder, by the hash of their content's
origin. Safe under several processes: an entry appears whole or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# What a file has besides the weights that its size is known by.
_HEADROOM = 32 << 20


def cache_dir() -> Path:
    """$GPUBENCH_CACHE_DIR, else gpubench/ in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("GPUBENCH_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpubench"


def entry(kind: str, origin: dict[str, object], suffix: str) -> Path:
    """The place of what `origin` makes: everything that its content depends on must be in it."""
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:32]
    place = cache_dir() / kind / f"{digest}{suffix}"
    try:
        place.exists()
    except PermissionError:  # somebody else's cache
        return Path(_scratch().name) / place.name
    return place


def temporary(suffix: str) -> Path:
    """A new place for what cannot be found again; it lasts as long as this process."""
    return Path(_scratch().name) / f"{secrets.token_hex(16)}{suffix}"


@dataclass(frozen=True)
class Entry:
    kind: str  # the runtime, or the step, that made it
    path: Path  # a file; for what a library keeps in its own way, a folder
    bytes: int
    modified: float  # seconds since 1970


def entries() -> list[Entry]:
    """What is in the cache, whole entries alone, by kind and then newest first."""
    folder = cache_dir()
    kinds = sorted(kind for kind in folder.iterdir() if kind.is_dir()) if folder.is_dir() else []
    found = []
    for kind in kinds:
        nested = any(child.is_dir() for child in kind.iterdir())
        paths = [kind] if nested else [p for p in kind.iterdir() if not p.name.startswith(".")]
        listed = [Entry(kind.name, path, _size(path), path.stat().st_mtime) for path in paths]
        found += sorted(listed, key=lambda entry: -entry.modified)
    return found


def clear(kind: str | None = None) -> list[Entry]:
    """Remove every entry, or those of one kind, and return them. What is being made stays."""
    removed = [entry for entry in entries() if kind in {None, entry.kind}]
    for entry in removed:
        if entry.path.is_dir():
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    return removed


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def save(path: Path, write: Callable[[Path], None], size: int = 0) -> Path:
    """Have `write` make the entry beside its place, then put it there in one step.

    Of several processes that want the same entry, one makes it and the others wait for it. Returns
    where the entry is: a cache that cannot be written is no reason to fail, and the entry is then
    in a folder that lasts as long as this process. So it is where there is less room than `size`,
    what it will have in bytes at least: torch ends the process when a disk is full. Raises OSError
    where there is no room there either, and what `write` raises.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(path))
            usable = path.exists() or _has_room(path.parent, size)
        except OSError:
            usable = False
        if not usable:
            path = Path(_scratch().name) / path.name
        if path.exists():
            return path
        if not _has_room(path.parent, size):
            raise OSError(errno.ENOSPC, f"no room for {size / 1e6:,.0f} MB", str(path.parent))
        temporary = _beside(path)
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _has_room(folder: Path, size: int) -> bool:
    return not size or shutil.disk_usage(folder).free > size + _HEADROOM


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes with the entry `path`. Raises OSError where no file can be made.

    The system frees the lock of a process that ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".lock-{path.stem}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _beside(path: Path) -> Path:
    """An empty file in the folder of `path`, with its suffix: some writers look at that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@lru_cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gpubench-")
