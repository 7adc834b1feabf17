"""The files of a user's own model on this machine. Does not read the model or import torch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError
from gpubench.registry import is_function, local_path

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell
    from gpubench.spec.spec import Spec


def named_paths(spec: Spec) -> list[str]:
    """The files and folders that a spec names: model, weights, inputs and labelled data.

    They need not exist: weights may be on a hub.
    """
    weights = None if spec.weights in {"random", "pretrained"} else spec.weights
    labelled = spec.eval
    if labelled is not None and is_function(labelled):
        labelled = local_path(labelled)
    return [each for each in (local_path(spec.model), weights, spec.inputs_file, labelled) if each]


def files_of(cell: Cell) -> list[Path]:
    """The existing files of the cell's model, weights, inputs and labelled data.

    For a folder these are the files directly inside it, which are the ones that transformers reads.
    For Python code it is the file itself, without the modules that it imports.
    """
    files: list[Path] = []
    for path in map(Path, named_paths(cell.spec)):
        try:
            if not path.exists():  # weights on a hub
                continue
            if path.is_dir():
                files += sorted(child for child in path.iterdir() if child.is_file())
            else:
                files += [path, *_readable_data(path)]
        except OSError:  # no permission for the folder; loading raises the error
            continue
    return files


def _readable_data(path: Path) -> list[Path]:
    try:
        return onnx_data(path)
    except InputError:  # loading raises the error
        return []


def state_of_files(cell: Cell) -> tuple[tuple[str, int, int], ...]:
    """The name, time of change and size of each file of `files_of`. Editing a file changes it."""
    found = []
    for file in files_of(cell):
        try:
            status = file.stat()
        except OSError:  # removed meanwhile
            continue
        found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


def changed_since(cell: Cell, time: str) -> Path | None:
    """The newest file of `files_of` if it was changed after `time`; None if none was.

    `time` is in ISO 8601, in whole seconds. A change within the same second is not detected.
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
    """The external data of an ONNX file: the files beside it that hold its weights.

    Empty for a file of another kind, and if onnx is not installed, which every runtime for ONNX
    files needs. Raises InputError, one line, for a file that is not ONNX, and for data that is
    missing or outside the file's folder: a file from another person must not make gpubench read
    arbitrary files.
    """
    if path.suffix.lower() != ".onnx" or not path.is_file() or find_spec("onnx") is None:
        return []
    status = path.stat()
    return [
        _inside(path, location) for location in _locations(path, status.st_mtime_ns, status.st_size)
    ]


def _inside(path: Path, location: str) -> Path:
    written = PurePosixPath(location), PureWindowsPath(location)
    outside = any(each.is_absolute() or each.drive or ".." in each.parts for each in written)
    if not location or "\\0" in location or outside:
        raise InputError(
            f"--model {path}: its weights are in {location!r}, outside its folder; save it with "
            "its data in the same folder"
        )
    data = path.parent / location
    if not data.is_file():
        raise InputError(
            f"--model {path}: the file {location} with its weights is missing; put that file into "
            "the same folder"
        )
    # In the cache of a hub both files are links to files that are together in another folder.
    folders = {path.parent.resolve(), path.resolve().parent}
    if not any(data.resolve().is_relative_to(folder) for folder in folders):
        raise InputError(
            f"--model {path}: {location} with its weights is a link to a file outside its folder; "
            "put the file itself into the folder"
        )
    return data


@functools.lru_cache(maxsize=16)  # called several times for each model; a large file takes long
def _locations(path: Path, changed_ns: int, size: int) -> tuple[str, ...]:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"--model {path}: it cannot be read: {error.strerror}") from error
    except Exception as error:  # the type depends on the version of protobuf
        raise InputError(f"--model {path}: it is not an ONNX file; export it again") from error
    external = {
        next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        for tensor in _tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return tuple(sorted(external))


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in an ONNX message, including subgraphs, functions and sparse tensors."""
    import onnx

    for field, value in message.ListFields():
        if field.message_type is None:  # plain values, for example weights
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            if isinstance(inner, onnx.TensorProto):
                yield inner
            else:
                yield from _tensors(inner)
