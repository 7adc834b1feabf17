"""`gpubench build`: engines made ahead, also for GPUs that are not here."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import click

from gpubench.cli.completion import Known
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import json_file, json_option, make_folder, split_names
from gpubench.cli.output import emit
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import setting_option, tell
from gpubench.cli.streams import wrapped
from gpubench.engines.refusals import TENSORRT_PRECISIONS
from gpubench.errors import InputError
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import MOST_SAMPLES, Spec

# For help and completion; the table of all is in engines/refusals.py.
NAMED_GPUS = ("T4", "A10", "A10G", "A100", "L4", "L40S")

# The settings that take a list: an engine is built for each combination. Loading depends on the
# first two, so that what shares them follows one another.
_AXES = ("model", "seq_len", "precision")
_SHARED = ("weights", "seed", "allow_code")


@dataclass(frozen=True)
class _Batches:
    """The sizes of batch that one engine takes."""

    least: int
    most: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}-{self.most}"


@click.command("build", cls=Command)
@setting_option("model")
@setting_option("weights")
@setting_option("seq_len")
@click.option(
    "--runtime",
    cls=Option,
    section="Engine",
    default="tensorrt-rtx",
    show_default=True,
    type=Known(("tensorrt-rtx",)),
    metavar="NAME",
    help="Only tensorrt-rtx builds for GPUs that are not in this machine.",
)
@click.option(
    "--precision",
    cls=Option,
    section="Engine",
    type=Known(TENSORRT_PRECISIONS),
    metavar=f"[{'|'.join(TENSORRT_PRECISIONS)}]",
    help="Number format, or a list. [default: fp32]",
)
@click.option(
    "--batch",
    cls=Option,
    section="Engine",
    default="1",
    show_default=True,
    metavar="N|N-N",
    help="Samples in a batch; 1-32 for an engine that takes each size up to 32; 1,8 for two "
    "engines.",
)
@click.option(
    "--gpu",
    cls=Option,
    section="Engine",
    multiple=True,
    required=True,
    type=Known(NAMED_GPUS),
    metavar="NAME",
    help=f"{', '.join(NAMED_GPUS)}, or an architecture such as sm_86. Repeatable, or a list.",
)
@setting_option("seed")
@setting_option("allow_code")
@click.option(
    "--output",
    cls=Option,
    section="Output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the engines.",
)
@json_option("a list of the engines")
def command(
    gpu: tuple[str, ...],
    output: Path,
    runtime: str,
    batch: str,
    json_path: str | None,
    **flags: Any,
) -> None:
    """Build engines for GPUs that need not be in this machine.

    --model, --precision, --batch, --seq-len and --gpu take lists, as 1,8: an engine is built for
    each combination.

    On the machine with the GPU, measure an engine with gpubench run --model FILE.plan. Or, with
    the same versions of gpubench's packages, set GPUBENCH_CACHE_DIR to the folder of --output:
    gpubench run --model NAME then finds the engine there and checks its outputs.

    \b
    Example:
      gpubench build --model resnet50 --batch 1,8 --gpu T4,A10G --output engines
    """
    if runtime != "tensorrt-rtx":
        raise InputError(
            f"--runtime {runtime}: only tensorrt-rtx builds for GPUs that are not here; the others "
            "build on the machine that runs them"
        )
    json_output = json_file(json_path)
    wanted = _wanted(runtime, batch, flags)
    if not split_names(gpu):
        raise InputError("--gpu: names none; give one like A10G")

    results = sys.stdout if json_path is None else None
    with foreign_code():
        lines = _build(wanted, split_names(gpu), output, results)
    if json_path is not None:
        emit(json.dumps(lines, indent=2) + "\n", json_output)


def _build(
    wanted: list[tuple[Spec, _Batches]],
    gpus: tuple[str, ...],
    output: Path,
    results: TextIO | None,
) -> list[dict[str, object]]:
    """Build every engine, print a line for each, and return what is in the lines.

    Raises InputError for what cannot be built, before anything is loaded.
    """
    from gpubench.cells.refuse import refuse_by_its_file
    from gpubench.cells.resolve import fill_in
    from gpubench.engines import refusals
    from gpubench.system.machine import this_machine

    targets = {name: refusals.compute_capability(name) for name in gpus}
    cells = []
    for spec, batches in wanted:
        cell = fill_in(spec, this_machine())
        if reason := refusals.of_precision(cell, *refusals.TENSORRT_PRECISIONS):
            raise InputError(f"--runtime {cell.runtime}: {reason}")
        if reason := refusals.tensorrt_missing(cell):
            raise InputError(f"--runtime {cell.runtime}: {reason}")
        cells.append((cell, batches))

    from gpubench.engines.tensorrt import plan  # torch with it
    from gpubench.engines.tensorrt.builder import Batches

    for cell, _ in cells:
        for name, capability in targets.items():
            if reason := plan.refused_on(cell, capability):
                raise InputError(f"--gpu {name}: {reason}")
        refuse_by_its_file(cell)
    make_folder(output)
    os.environ["GPUBENCH_CACHE_DIR"] = str(output)

    from gpubench.models.base import LoadedModel, load

    loaded: dict[tuple[str, int | None], LoadedModel] = {}
    lines: list[dict[str, object]] = []
    for cell, batches in cells:
        origin = (cell.model, cell.seq_len)
        if origin not in loaded:
            tell(f"{cell.model}: load", quiet=results is None)
            loaded.clear()  # before the next is loaded: both may not fit
            loaded[origin] = load(cell)
        for name, capability in targets.items():
            sizes = Batches(batches.least, batches.most)
            made = plan.plan(loaded[origin], cell, capability, sizes)
            size = made.path.stat().st_size
            lines.append(
                {
                    "file": str(made.path),
                    "gpu": name,
                    "bytes": size,
                    "seconds": round(made.build_seconds, 3),
                    "from_cache": made.from_cache,
                    "model": cell.model,
                    "precision": cell.precision,
                    "batch": str(batches),
                    "seq_len": cell.seq_len,
                }
            )
            if results is not None:
                settings = f"{cell.model} {cell.precision} batch {batches}"
                if cell.seq_len is not None:
                    settings += f" sequence length {cell.seq_len}"
                line = (
                    f"{made.path}  {name}  {size / 1e6:,.1f} MB  {made.build_seconds:.1f} s  "
                    f"{settings}"
                )
                print(wrapped(line, results, "    "), file=results, flush=True)
    return lines


def _wanted(runtime: str, batch: str, flags: dict[str, Any]) -> list[tuple[Spec, _Batches]]:
    """What each engine is for, apart from the GPU. Raises InputError where that is not valid."""
    shared = {name: flags[name] for name in _SHARED if flags[name] is not None}
    axes = {name: _values(name, flags[name]) for name in _AXES if flags[name] is not None}
    sizes = [_batches(text) for text in _values("batch", batch)]
    wanted = []
    for values in product(*axes.values()):
        asked = dict(zip(axes, values, strict=True)) | shared
        for size in sizes:
            spec = make_spec({**asked, "runtime": runtime, "batch": size.least, "device": "cpu"})
            if spec.synthetic or spec.model.endswith(".plan"):
                raise InputError(f"--model {spec.model}: there is nothing to build; name a model")
            wanted.append((spec, size))
    return wanted


def _values(name: str, text: str) -> list[str]:
    """The different values of a list: '1,8'."""
    values = list(dict.fromkeys(split_names((text,))))
    if not values:
        raise InputError(f"--{name.replace('_', '-')}: it is empty; give a value, or a list")
    return values


def _batches(text: str) -> _Batches:
    """Of '8' or of '1-32'."""
    sizes = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
    if sizes is None:
        raise InputError(
            f"--batch: '{text}' is no size; write it like 8, 1-32 for a range, or 1,8 for two "
            "engines"
        )
    least, most = int(sizes[1]), int(sizes[2] or sizes[1])
    if not 0 < least <= most <= MOST_SAMPLES:
        raise InputError(f"--batch: {text} is no range of sizes from 1 to {MOST_SAMPLES}")
    return _Batches(least, most)
