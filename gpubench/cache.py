"""Files that are costly to make and cheap to keep, under one folder, by the hash of their content's
origin. Safe under several processes: an entry appears whole or not at all.

What is kept here is loaded into the process and can run code, so the folder is this user's alone
(0700, files 0600) and nothing in it is taken from anybody else. It bears a marker; only what has
the names that gpubench gives, in a folder with the marker, is ever removed. See docs/security.md.
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

# What a file has besides the weights that its size is known by.
_HEADROOM = 32 << 20

# The name that programs which make backups know (https://bford.info/cachedir/).
_MARKER = "CACHEDIR.TAG"
_MARKER_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of gpubench. "gpubench cache clear" removes what gpubench has put here.
"""
# In a folder that holds other things too, the cache is a folder of this name.
_WITHIN = "gpubench-cache"
_KIND = re.compile("[a-z0-9][a-z0-9-]*")
_ENTRY = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+)?")
_OWN_HIDDEN = re.compile(r"\.(lock-|part-|timing|gpubench).*")
# In each folder of a kind, so that no folder is taken for one by its name alone.
_KIND_MARKER = ".gpubench-kind"
_OF_TORCH = "inductor"  # TorchInductor's own cache, which is one entry
# Of versions that set no marker: a folder that holds these alone is a cache.
_UNMARKED_KINDS = re.compile(
    "torchscript|aotinductor|inductor|onnx|onnxruntime-int8|tensorrt(-rtx|-int8|-fp8)?"
)


def cache_dir() -> Path:
    """The folder in use: the chosen one, where it is this user's own.

    That is $GPUBENCH_CACHE_DIR, else gpubench/ in $XDG_CACHE_HOME or ~/.cache. In a folder that
    holds other things it is gpubench-cache/. In place of one of another user, or that others may
    write to, it is the folder in ~/.cache; and in place of that, one for this process.
    """
    for find in (_chosen, _default):
        with suppress(OSError):
            if (chosen := find()) and (own := _own_folder(chosen)):
                return own
    return Path(_scratch().name)


def folder(kind: str) -> Path:
    """The folder of a kind of entries, made where it does not exist; for what a library keeps."""
    place = cache_dir() / kind
    try:
        _make(place)
    except OSError:
        place = Path(_scratch().name) / kind
        place.mkdir(exist_ok=True)
    return place


def entry(kind: str, origin: dict[str, object], suffix: str) -> Path:
    """The place of what `origin` makes: everything that its content depends on must be in it.

    Where there is a file that another user has put there, or a link, it is a place elsewhere.
    """
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:32]
    place = cache_dir() / kind / f"{digest}{suffix}"
    try:
        is_safe = not _exists(place) or (_is_own(place.parent) and _is_own(place))
    except OSError:
        is_safe = False
    return place if is_safe else Path(_scratch().name) / place.name


def temporary(suffix: str) -> Path:
    """A new place for what cannot be found again; it lasts as long as this process."""
    return Path(_scratch().name) / f"{secrets.token_hex(16)}{suffix}"


@dataclass(frozen=True)
class Entry:
    kind: str  # the runtime, or the step, that made it
    path: Path  # a file; for what a library keeps in its own way, a folder
    bytes: int
    modified: float  # seconds since 1970


def chosen_dir() -> Path:
    """The folder to list or to clear: that which was chosen, never one in its place.

    Raises InputError where it is not one for this user.
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
            f"it; {cache_dir()} is used in its place: set GPUBENCH_CACHE_DIR to that"
        )
    return own


def entries() -> list[Entry]:
    """What is in the cache, whole entries alone, by kind and then newest first.

    What gpubench has not put there is left out, and no link is followed. Raises InputError as
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
    """Remove every entry, or those of one kind, and return them. What is being made stays.

    Raises InputError as `chosen_dir`.
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
    """None for a user without a home folder, as containers have them."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "gpubench"
    try:
        return Path.home() / ".cache" / "gpubench"
    except RuntimeError:
        return None


def _own_folder(chosen: Path) -> Path | None:
    """The cache in `chosen`; None where it is another user's. Nothing is made yet.

    Raises OSError where that cannot be told.
    """
    if not _exists(chosen):
        return chosen
    real = chosen.resolve()  # a link that this user's own setting names
    if not real.is_dir() or not _belongs(real):
        return None
    if _is_cache(real, is_default=chosen == _default()):
        return chosen if _is_own(real, mend=True) else None
    within = chosen / _WITHIN
    if not _exists(within):
        return within
    is_usable = _is_own(within, mend=True) and _is_cache(within, is_default=False)
    return within if is_usable else None


def _is_cache(folder: Path, is_default: bool) -> bool:
    """Whether it has the marker, or is empty, or a version without markers has made it."""
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
    """Whether anything has this name, a link that leads nowhere among it. May raise OSError."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _belongs(place: Path) -> bool:
    """Whether it is this user's or the system's: nobody else can have put it there."""
    return place.lstat().st_uid in {os.geteuid(), 0}


def _is_own(place: Path, mend: bool = False) -> bool:
    """Whether a file or folder is no link, belongs to this user, and others may not write to it.

    With `mend` the permission to write is taken from others where this user can.
    """
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode) or not _belongs(place):
        return False
    if not status.st_mode & 0o022:
        return True
    if not mend or status.st_uid != os.geteuid():
        return False
    place.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    return True


def _make(kind: Path) -> None:
    """The folder of a kind and those above it, for this user alone, whatever the umask.

    Raises OSError where it cannot be made, or is not this user's.
    """
    root = kind.parent
    root.parent.mkdir(parents=True, exist_ok=True)
    for place in (root, kind):
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        if not _is_own(place.resolve() if place == root else place, mend=True):
            raise PermissionError(errno.EPERM, "it is another user's", str(place))
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
        if _exists(path) and _is_own(path):
            return path
        if not _has_room(path.parent, size):
            raise OSError(errno.ENOSPC, f"no room for {size / 1e6:,.0f} MB", str(path.parent))
        temporary = _beside(path)
        try:
            write(temporary)
            temporary.chmod(0o600)  # a library may have made it anew
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _has_room(folder: Path, size: int) -> bool:
    return not size or shutil.disk_usage(folder).free > size + _HEADROOM


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes with the entry `path`. Raises OSError where no file can be made."""
    if path.parent != Path(_scratch().name):
        _make(path.parent)
    with exclusive(path.with_name(f".lock-{path.stem}")):
        _sweep(path.parent, path.stem)
        yield


def _sweep(kind: Path, stem: str) -> None:
    """Remove what makers of an entry left that were killed. Its lock is held, so none is alive."""
    for place in kind.glob(f".part-{stem}-*"):
        place.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """An empty file in the folder of `path`, with its suffix: some writers look at that."""
    prefix = f".part-{path.stem}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@lru_cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gpubench-")
