"""The arrays of --inputs-file: an .npz file that numpy.savez has written."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpubench.errors import reason_of
from gpubench.spec.dtypes import BY_NAME, Dtype

_BY_ORDER = re.compile(r"arr_(\d+)")  # the names that numpy.savez gives to arrays without names

# NumPy's letters for kinds of formats, by the kinds of gpubench.spec.dtypes.
KINDS = {"float": "f", "integer": "iu", "bool": "b"}


@dataclass(frozen=True)
class InputsFile:
    path: Path
    arrays: Mapping[str, Any]  # NumPy arrays, in the order of the file

    @staticmethod
    def open(path: Path) -> InputsFile:
        """Read the file. Nothing in it is unpickled. Raises ValueError if it holds no arrays."""
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (
            OSError,
            ValueError,
            EOFError,
            AttributeError,
            TypeError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(
                f"--inputs-file: {path} is not a file of arrays ({reason_of(error)}); write one "
                "with numpy.savez(PATH, name=array)"
            ) from None
        if not arrays:
            raise ValueError(f"--inputs-file: {path} has no arrays; write some with numpy.savez")
        for name, array in arrays.items():
            if array.dtype.name not in BY_NAME or array.size == 0:
                raise ValueError(
                    f"--inputs-file: {name} in {path} is {array.dtype} {list(array.shape)}; give "
                    f"arrays that are not empty, in {', '.join(BY_NAME)}"
                )
        return InputsFile(path, arrays)

    def match(self, names: Sequence[str], model: str) -> dict[str, Any]:
        """The arrays by the names of the model's inputs. Inputs may be missing in the file.

        Raises ValueError for an array that is not an input of the model.
        """
        found = {}
        for name, array in self.arrays.items():
            order = _BY_ORDER.fullmatch(name)
            if name not in names and order is not None and int(order[1]) < len(names):
                name = names[int(order[1])]
            if name not in names:
                raise ValueError(
                    f"--inputs-file: {model} has no input {name}; its inputs are {', '.join(names)}"
                )
            found[name] = array
        return found


def check_kind(name: str, array: Any, dtype: Dtype) -> None:
    """Raises ValueError if an array holds another kind of number than the input takes.

    A float64 array is valid for a float32 input.
    """
    if array.dtype.kind not in KINDS[dtype.kind]:
        raise ValueError(
            f"--inputs-file: {name} is {array.dtype}, and the model takes {dtype.name}; convert "
            "the array with .astype"
        )
