"""`gpubench build`: engines made ahead, also for GPUs that are not here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from gpubench.cli._options import json_file, make_folder, split_names
from gpubench.cli._output import emit
from gpubench.cli._settings import tell
from gpubench.errors import InputError
from gpubench.spec import make_spec

_FLAGS = ("model", "weights", "precision", "seq_len", "seed")


@click.command("build")
@click.option("--model", required=True, metavar="NAME", help="As for gpubench run.")
@click.option("--weights", metavar="VALUE", help="As for gpubench run. [default: random]")
@click.option("--runtime", default="tensorrt-rtx", show_default=True, help="tensorrt-rtx.")
@click.option(
    "--precision", metavar="VALUE", help="fp32, tf32, fp16, bf16, int8, fp8. [default: fp32]"
)
@click.option(
    "--batch",
    default="1",
    show_default=True,
    metavar="N",
    help="Samples in a batch; 1-32 for an engine that takes each size up to 32.",
)
@click.option("--seq-len", metavar="N", help="Tokens per sequence, text models.")
@click.option("--seed", metavar="N", help="Seed of random weights. [default: 0]")
@click.option(
    "--gpu", multiple=True, required=True, metavar="NAME", help="T4, A10G, L4, sm_86; repeatable."
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for them.")
@click.option("--json", "json_path", metavar="PATH|-", help="Write a list in JSON instead.")
def command(
    gpu: tuple[str, ...],
    output: Path,
    runtime: str,
    batch: str,
    json_path: str | None,
    **flags: Any,
) -> None:
    """Build engines for GPUs that need not be in this machine.

    On the machine with the GPU an engine is measured as --model FILE.plan. OUTPUT is laid out as a
    cache, too: with the same versions of gpubench's packages, set GPUBENCH_CACHE_DIR to it, and
    the engines of --model NAME are found, and their answers checked.

    Example: gpubench build --model resnet50 --precision fp16 --gpu T4 --gpu A10G --output engines
    """
    if runtime != "tensorrt-rtx":
        raise InputError(
            f"--runtime {runtime}: only tensorrt-rtx builds for GPUs that are not here; the others "
            "build on the machine that runs them"
        )
    json_output = json_file(json_path)

    from gpubench._plan import refuse_by_its_file, refuse_missing_model
    from gpubench.engines import refusals

    asked = {name: flags[name] for name in _FLAGS if flags[name] is not None}
    least, most = _batches(batch)
    spec = make_spec({**asked, "runtime": runtime, "batch": least, "device": "cpu"})
    if spec.model == "synthetic" or spec.model.endswith(".plan"):
        raise InputError(f"--model {spec.model}: there is nothing to build; name a model")
    if not split_names(gpu):
        raise InputError("--gpu: names none; give one like A10G")
    targets = {name: refusals.compute_capability(name) for name in split_names(gpu)}
    if reason := refusals.of_precision(spec, *refusals.TENSORRT_PRECISIONS):
        raise InputError(f"--runtime {runtime}: {reason}")
    refuse_missing_model(spec)
    refuse_by_its_file(spec)
    if reason := refusals.tensorrt_missing(spec):
        raise InputError(f"--runtime {runtime}: {reason}")

    from gpubench.engines import tensorrt_plan  # torch with it

    for name, capability in targets.items():
        if reason := tensorrt_plan.refused_on(spec, capability):
            raise InputError(f"--gpu {name}: {reason}")
    make_folder(output)
    os.environ["GPUBENCH_CACHE_DIR"] = str(output)

    from gpubench.models.base import load

    tell(f"{spec.model}: load", quiet=json_path is not None)
    model = load(spec)
    lines = []
    for name, capability in targets.items():
        made = tensorrt_plan.plan(model, spec, capability, tensorrt_plan.Batches(least, most))
        size = made.path.stat().st_size
        lines.append(
            {
                "file": str(made.path),
                "gpu": name,
                "bytes": size,
                "seconds": round(made.build_seconds, 3),
                "from_cache": made.from_cache,
            }
        )
        if json_path is None:
            print(f"{made.path}  {name}  {size / 1e6:,.1f} MB  {made.build_seconds:.1f} s")
    if json_path is not None:
        emit(json.dumps(lines, indent=2) + "\n", json_output)


def _batches(text: str) -> tuple[int, int]:
    """(least, most) of '8' or of '1-32'."""
    least, _, most = text.partition("-")
    if not least.isdigit() or not (most or least).isdigit():
        raise InputError(f"--batch: '{text}' is no size; write it like 8, or 1-32 for a range")
    if not 0 < int(least) <= int(most or least) <= 65536:
        raise InputError(f"--batch: {text} is no range of sizes from 1 to 65536")
    return int(least), int(most or least)
