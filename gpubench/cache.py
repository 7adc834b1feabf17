"""The cache: files that are costly to make, in one folder, named by a hash of their origin.

Several processes can use it at the same time: an entry is complete or absent. Entries are loaded
into the process and can run code. So the folder belongs only to this user (mode 0700, files 0600),
and files of other users are never used. The folder has a marker file. gpubench removes only files
with its own names, in a folder with the marker. See docs/security.md.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from gpubench.errors import InputError
from gpubench.files.locks import exclusive

# Bytes of an entry besides the weights, whose size is known in advance.
_HEADROOM = 32 << 20

# Backup programs know this name (https://bford.info/cachedir/).
_MARKER = "CACHEDIR.TAG"
_MARKER_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of gpubench. "gpubench cache clear" removes what gpubench has put here.
"""
# If the chosen folder also contains other files, the cache is a folder in it with this name.
_WITHIN = "gpubench-cache"
_KIND = re.compile("[a-z0-9][a-z0-9-]*")
_ENTRY = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+)?")
_OWN_HIDDEN = re.compile(r"\.(lock-|part-|timing|gpubench).*")
# This file is in each folder of a kind. A name alone does not show that gpubench made the folder.
_KIND_MARKER = ".gpubench-kind"
_OF_TORCH = "inductor"  # TorchInductor's own cache, which counts as one entry
# Earlier versions set no marker. A folder that contains only folders with these names is a cache.
_UNMARKED_KINDS = re.compile(
    "torchscript|aotinductor|inductor|onnx|onnxruntime-int8|tensorrt(-rtx|-int8|-fp8)?"
)


def cache_dir() -> Path:
    """The folder in use.

    It is $GPUBENCH_CACHE_DIR, otherwise gpubench/ in $XDG_CACHE_HOME or ~/.cache. If that folder
    also contains other files, it is gpubench-cache/ in it. If the folder belongs to another user,
    or others may write to it, the folder in ~/.cache is used, and if that is not possible either, a
    temporary folder of this process.
    """
    for find in (_chosen, _default):
        with suppress(OSError):
            if (chosen := find()) and (own := _own_folder(chosen)):
                return own
    return Path(_scratch().name)


def folder(kind: str) -> Path:
    """The folder of one kind of entries, for a library that manages its own files.

    It is created if it does not exist.
    """
    place = cache_dir() / kind
    try:
        _make(place)
    except OSError:
        place = Path(_scratch().name) / kind
        place.mkdir(exist_ok=True)
    return place


def entry(kind: str, origin: dict[str, object], suffix: str) -> Path:
    """The path of an entry. `origin` must contain everything that its content depends on.

    If another user has put a file there, or if there is a link, it is a path in a temporary folder.
    """
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:32]
    place = cache_dir() / kind / f"{digest}{suffix}"
    try:
        is_safe = not _exists(place) or (_is_own(place.parent) and _is_own(place))
    except OSError:
        is_safe = False
    return place if is_safe else Path(_scratch().name) / place.name


def temporary(suffix: str) -> Path:
    """A new path for a file that cannot be found again. It is removed when this process ends."""
    return Path(_scratch().name) / f"{secrets.token_hex(16)}{suffix}"


@dataclass(frozen=True)
class Entry:
    """An entry of the cache."""

    kind: str  # the runtime, or the step, that made it
    path: Path  # a file, or a folder if a library manages its own files
    bytes: int
    modified: float  # seconds since 1970


def chosen_dir() -> Path:
    """The folder that `gpubench cache` lists and clears: the chosen one, never a replacement.

    Raises InputError if this user cannot use it.
    """
    chosen = _chosen()
    if chosen is None:
        raise InputError("there is no home folder for a cache; set GPUBENCH_CACHE_DIR")
    try:
        own = _own_folder(chosen)
    except OSError as error:
        raise InputError(f"{chosen} cannot be read: {error.strerror}") from None
    if own is None:
        raise InputError(
            f"{chosen} is not a cache of yours: it belongs to another user, or others may write to "
            f"it; {cache_dir()} is used instead: set GPUBENCH_CACHE_DIR to it"
        )
    return own


def entries() -> list[Entry]:
    """The complete entries of the cache, by kind, newest first.

    Files that gpubench has not made are left out. No link is followed. Raises InputError like
    `chosen_dir`.
    """
    found = []
    for kind in _kinds(chosen_dir()):
        paths = [kind] if kind.name == _OF_TORCH else _plain_entries(kind)
        listed = [
            Entry(kind.name, path, _size(path), path.lstat().st_mtime)
            for path in paths
            if path.exists()
        ]
        found += sorted(listed, key=lambda entry: -entry.modified)
    return found


def clear(kind: str | None = None) -> list[Entry]:
    """Remove all entries, or those of one kind, and return them.

    Files that are being written stay. Raises InputError like `chosen_dir`.
    """
    removed = [entry for entry in entries() if kind in {None, entry.kind}]
    for entry in removed:
        if entry.path.is_dir():
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    for place in _kinds(chosen_dir()):
        if kind in {None, place.name}:
            for lock in place.glob(".lock-*"):
                with suppress(OSError), exclusive(lock, wait=False):
                    _sweep(place, lock.name.removeprefix(".lock-"))
    return removed


def _chosen() -> Path | None:
    named = os.environ.get("GPUBENCH_CACHE_DIR")
    return Path(named) if named else _default()


def _default() -> Path | None:
    """The default folder. None for a user without a home folder, as in some containers."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "gpubench"
    try:
        return Path.home() / ".cache" / "gpubench"
    except RuntimeError:
        return None


def _own_folder(chosen: Path) -> Path | None:
    """The cache in `chosen`. None if it belongs to another user. Nothing is created yet.

    Raises OSError if this cannot be found out.
    """
    if not _exists(chosen):
        return chosen
    real = chosen.resolve()  # the user's own setting may name a link
    if not real.is_dir() or not _belongs(real):
        return None
    if _is_cache(real, is_default=chosen == _default()):
        return chosen if _is_own(real, repair=True) else None
    within = chosen / _WITHIN
    if not _exists(within):
        return within
    is_usable = _is_own(within, repair=True) and _is_cache(within, is_default=False)
    return within if is_usable else None


def _is_cache(folder: Path, is_default: bool) -> bool:
    """Whether it has the marker, is empty, or was made by a version without markers."""
    marker = folder / _MARKER
    if marker.is_file() and not marker.is_symlink():
        return "gpubench" in marker.read_text(encoding="utf-8", errors="replace")[:1000]
    inside = list(folder.iterdir())
    if not all(_is_unmarked_kind(place) for place in inside):
        return False
    return is_default or not inside or any(list(_plain_entries(place)) for place in inside)


def _is_unmarked_kind(place: Path) -> bool:
    if not _is_folder(place) or not _UNMARKED_KINDS.fullmatch(place.name):
        return False
    names = (each.name for each in place.iterdir())
    return place.name == _OF_TORCH or all(
        _ENTRY.fullmatch(name) or _OWN_HIDDEN.fullmatch(name) for name in names
    )


def _kinds(folder: Path) -> list[Path]:
    if not _exists(folder):
        return []
    return sorted(place for place in folder.iterdir() if _is_folder(place) and _is_kind(place))


def _is_kind(place: Path) -> bool:
    has_marker = _KIND.fullmatch(place.name) and (place / _KIND_MARKER).is_file()
    return bool(has_marker or _UNMARKED_KINDS.fullmatch(place.name))


def _plain_entries(kind: Path) -> list[Path]:
    return [
        place for place in kind.iterdir() if _ENTRY.fullmatch(place.name) and not place.is_symlink()
    ]


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _exists(place: Path) -> bool:
    """Whether anything has this name, including a broken link. May raise OSError."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _belongs(place: Path) -> bool:
    """Whether it belongs to this user or to root, so that no other user has put it there."""
    return place.lstat().st_uid in {os.geteuid(), 0}


def _is_own(place: Path, repair: bool = False) -> bool:
    """Whether a file or folder is not a link, belongs to this user, and others cannot write to it.

    With `repair`, the permission to write is removed from others if this user may do that.
    """
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode) or not _belongs(place):
        return False
    if not status.st_mode & 0o022:
        return True
    if not repair or status.st_uid != os.geteuid():
        return False
    place.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    return True


def _make(kind: Path) -> None:
    """Create the folder of a kind and its parents, only for this user, with any umask.

    Raises OSError if it cannot be created or belongs to another user.
    """
    root = kind.parent
    root.parent.mkdir(parents=True, exist_ok=True)
    for place in (root, kind):
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        if not _is_own(place.resolve() if place == root else place, repair=True):
            raise PermissionError(errno.EPERM, "it belongs to another user", str(place))
    for marker, text in ((root / _MARKER, _MARKER_TEXT), (kind / _KIND_MARKER, "")):
        with suppress(FileExistsError), _new_file(marker) as file:
            file.write(text)


def _new_file(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(
        (Path(place) / name).lstat().st_size
        for place, _, names in os.walk(path)  # which follows no links
        for name in names
    )


def save(path: Path, write: Callable[[Path], None], size: int = 0) -> Path:
    """Let `write` make the entry in a temporary file, and rename it in one step.

    If several processes need the same entry, one makes it and the others wait. Returns the path of
    the entry. If the cache cannot be written, the entry is in a temporary folder of this process.
    The same holds if less than `size` bytes are free, the smallest size of the entry, because torch
    ends the process when a disk is full. Raises OSError if the temporary folder has too little
    space as well, and what `write` raises.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(path))
            usable = path.exists() or _has_space(path.parent, size)
        except OSError:
            usable = False
        if not usable:
            path = Path(_scratch().name) / path.name
        if _exists(path) and _is_own(path):
            return path
        if not _has_space(path.parent, size):
            raise OSError(errno.ENOSPC, f"no space for {size / 1e6:,.0f} MB", str(path.parent))
        temporary = _beside(path)
        try:
            write(temporary)
            temporary.chmod(0o600)  # a library may have created the file again
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _has_space(folder: Path, size: int) -> bool:
    return not size or shutil.disk_usage(folder).free > size + _HEADROOM


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the entry `path`. Raises OSError if its file cannot be created."""
    if path.parent != Path(_scratch().name):
        _make(path.parent)
    with exclusive(path.with_name(f".lock-{path.stem}")):
        _sweep(path.parent, path.stem)
        yield


def _sweep(kind: Path, stem: str) -> None:
    """Remove temporary files of killed processes. The lock is held, so no such process runs."""
    for place in kind.glob(f".part-{stem}-*"):
        place.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """An empty file in the folder of `path` with the same suffix, which some libraries check."""
    prefix = f".part-{path.stem}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@lru_cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gpubench-")
