"""What kind of file a .pt, .pth, .ts or .jit is, told without torch and without unpickling it.

TorchScript, state dicts, pickled modules and exported programs are all ZIP archives, and are known
by the members that each has.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.models.inputs_file import InputsFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_ADVICE = "write a function that makes the module, and give it as FILE.py:function"

# What the pickle of a state dict names: tensors, and containers of them.
_OF_TENSORS = ("torch ", "torch._utils ", "torch.storage ", "collections ", "torch._tensor ")


def refusal(cell: Cell) -> str | None:
    """Why the cell's file is no TorchScript, and what to do; None where it may be."""
    if cell.inputs_file is not None:
        try:
            InputsFile.open(cell.inputs_file)
        except ValueError as error:
            return str(error)
    found = other_kind(Path(cell.model))
    return None if found is None else f"--model {cell.model}: {found}"


def other_kind(path: Path) -> str | None:
    """What a file is that is not TorchScript, and what to do; None where it may be TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in names:
                return None
            if "data.pkl" in names:
                return _saved(archive.read(names["data.pkl"]))
            if any("exported_program" in name or name == "archive_format" for name in names):
                return (
                    "it is an exported program (torch.export.save) and not TorchScript; load it in "
                    f"a function of yours: {_ADVICE}"
                )
            return f"it is a ZIP archive without TorchScript in it; {_ADVICE}"
    except zipfile.BadZipFile:
        return (
            "it is not a TorchScript file (those are ZIP archives); save one with torch.jit.save, "
            f"or {_ADVICE}"
        )
    except OSError as error:
        return f"it cannot be read: {error.strerror}; give another file"


def _saved(pickle: bytes) -> str:
    """What torch.save has written."""
    if all(name.startswith(_OF_TENSORS) for name in _named(pickle)):
        return (
            "it is a state dict, which has weights and no model; " + _ADVICE + ", with "
            "module.load_state_dict(torch.load(PATH, weights_only=True))"
        )
    return (
        "it is a pickled module (torch.save) and not TorchScript; save it with "
        f"torch.jit.script(module).save(PATH), or {_ADVICE}"
    )


def _named(pickle: bytes) -> list[str]:
    """The modules and names that a pickle refers to, which is read and not executed."""
    named: list[str] = []
    strings: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(pickle):
            if code.name == "GLOBAL":
                named.append(str(argument))
            elif code.name == "STACK_GLOBAL":
                named.append(" ".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except ValueError:
        return [""]
    return named
