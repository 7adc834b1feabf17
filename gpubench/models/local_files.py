"""The files that a user's own model is, on this machine. Reads no model and imports no torch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError
from gpubench.registry import local_path

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def files_of(cell: Cell) -> list[Path]:
    """The files that are there of the cell's model, weights and inputs; none for a model by name.

    Of a folder, what lies in it directly: that is what transformers reads. Of Python code the file
    itself, without what it imports.
    """
    files: list[Path] = []
    weights = None if cell.weights in {"random", "pretrained"} else cell.weights
    places = (local_path(cell.model), weights, cell.inputs_file)
    for path in (Path(place) for place in places if place):
        try:
            if not path.exists():  # weights of a hub
                continue
            if path.is_dir():
                files += sorted(child for child in path.iterdir() if child.is_file())
            else:
                files += [path, *_data_where_readable(path)]
        except OSError:  # a folder that may not be looked into: loading says so
            continue
    return files


def _data_where_readable(path: Path) -> list[Path]:
    try:
        return onnx_data(path)
    except InputError:  # loading says so
        return []


def state_of_files(cell: Cell) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of each of `files_of`: another where one was edited."""
    found = []
    for file in files_of(cell):
        try:
            status = file.stat()
        except OSError:  # removed meanwhile
            continue
        found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


def changed_since(cell: Cell, time: str) -> Path | None:
    """The newest of `files_of` where it was changed after `time`; None where none was.

    `time` is in ISO 8601, in whole seconds: a change within that second is not seen.
    """
    changes = [(int(file.stat().st_mtime), file) for file in files_of(cell) if file.exists()]
    if not changes:
        return None
    newest, file = max(changes)
    return file if newest > int(datetime.fromisoformat(time).timestamp()) else None


def onnx_digest(path: Path) -> str:
    """A hash of an ONNX file and of its external data. Raises what `onnx_data` raises."""
    digest = hashlib.sha256()
    for file in (path, *onnx_data(path)):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def onnx_data(path: Path) -> list[Path]:
    """The files beside an ONNX file in which it has weights: its external data.

    Empty for a file of another kind, and where onnx, which every runtime for such a file needs, is
    not installed. Raises InputError, one line, for a file that is not ONNX, and for data that is
    missing or outside of the file's folder: a file from somebody else must not point anywhere.
    """
    if path.suffix.lower() != ".onnx" or not path.is_file() or find_spec("onnx") is None:
        return []
    status = path.stat()
    return [
        _inside(path, location) for location in _locations(path, status.st_mtime_ns, status.st_size)
    ]


def _inside(path: Path, location: str) -> Path:
    written = PurePosixPath(location), PureWindowsPath(location)
    leaves = any(way.is_absolute() or way.drive or ".." in way.parts for way in written)
    if not location or "\\0" in location or leaves:
        raise InputError(
            f"--model {path}: its weights are in {location!r}, outside of its folder; save it with "
            "its data beside it"
        )
    data = path.parent / location
    if not data.is_file():
        raise InputError(
            f"--model {path}: the file {location} with its weights is missing; put it beside it"
        )
    # A hub's cache has links to both files, which lie side by side elsewhere.
    folders = {path.parent.resolve(), path.resolve().parent}
    if not any(data.resolve().is_relative_to(folder) for folder in folders):
        raise InputError(
            f"--model {path}: {location} with its weights is a link to outside of its folder; put "
            "the file itself there"
        )
    return data


@functools.lru_cache(maxsize=16)  # by its state: several places ask, and a large file takes long
def _locations(path: Path, changed_ns: int, size: int) -> tuple[str, ...]:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"--model {path}: it cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's own, by its version
        raise InputError(f"--model {path}: it is not an ONNX file; export it again") from error
    external = {
        next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        for tensor in _tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return tuple(sorted(external))


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in an ONNX message: in subgraphs, functions and sparse tensors too."""
    import onnx

    for field, value in message.ListFields():
        if field.message_type is None:  # plain values, weights among them
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            if isinstance(inner, onnx.TensorProto):
                yield inner
            else:
                yield from _tensors(inner)
