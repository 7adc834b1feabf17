"""`gpubench train`: measure one step of training."""

from __future__ import annotations

from typing import Any

import click

from gpubench.cli.options import Decorated
from gpubench.cli.run import measure, run_options
from gpubench.cli.sections import Command
from gpubench.cli.settings import SECTIONS, setting_option
from gpubench.spec.spec import Spec
from gpubench.spec.training import TRAINING_PRECISIONS, TRAINING_RUNTIMES

# The settings that a step of training has. It has no queue, and neither files nor servers of its
# own: see gpubench.spec.training.
_OTHERS = {
    *("input_shape", "dim", "sparsity", "service_time", "service_dist"),
    *("clients", "rate", "arrivals", "dynamic_batch", "load_seed"),
    *("server", "workers", "depth", "eval", "eval_metric", "max_drop", "task"),
}

# What differs from the help of the other commands.
_HELP = {
    "model": "What to train: bert-base, bert-large, distilbert, resnet50; or your own: "
    "module:function, FILE.py:function, hub:ID, or a Hugging Face folder (with / at its end).",
    "runtime": "What executes the model: eager or compile (torch.compile). [default: eager]",
    "precision": "fp32 (TF32 off) or tf32; or with fp32 weights, by autocast: amp (fp16 with a "
    "gradient scaler on GPUs, bf16 on a CPU) or bf16. [default: fp32]",
    "batch": "Samples of each replica in each forward pass. [default: 1]",
    "threads": "CPU threads of each replica. [default: cores / replicas]",
    "device": "auto, cpu, cuda:N, or several GPUs, one for each replica: cuda:0,cuda:1, or all. "
    "[default: auto]",
    "wait": "How the process waits for the next step. [default: spin]",
    "requests": "Measure at least this many steps.",
    "seed": "Seed of weights, inputs, targets and dropout. [default: 0]",
}
_VALUES = {"runtime": TRAINING_RUNTIMES, "precision": TRAINING_PRECISIONS}
_IN_OTHER_COMMANDS = "Only for training: "


def _settings(command: Decorated) -> Decorated:
    for name in reversed([name for section in SECTIONS.values() for name in section]):
        if name not in _OTHERS:
            command = setting_option(name, _help(name), _VALUES.get(name))(command)
    return command


def _help(name: str) -> str | None:
    text = Spec.model_fields[name].description or ""
    if text.startswith(_IN_OTHER_COMMANDS):
        text = text.removeprefix(_IN_OTHER_COMMANDS)
        return text[0].upper() + text[1:]
    return _HELP.get(name)


@click.command("train", cls=Command)
@_settings
@run_options
def command(**flags: Any) -> int:
    """Measure one step of training: samples per second, its stages, and what training costs.

    A step is forward, backward and optimiser on batch x accumulate x replicas samples. Without
    --runtime it is eager. Convergence is not measured: see docs/training.md.

    \b
    Example:
      gpubench train --model resnet50 --batch 4 --usd-per-hour 1
    """
    return measure(**flags, task="train")
