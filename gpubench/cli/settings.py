"""The settings of a cell as flags: one for each field of Spec, under the same name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from gpubench.cli.completion import Known, instances
from gpubench.cli.options import Decorated, split_names
from gpubench.cli.sections import Option
from gpubench.cli.streams import wrapped
from gpubench.errors import shorten
from gpubench.registry import MODELS, RUNTIMES
from gpubench.report import escape
from gpubench.spec.explain import choices
from gpubench.spec.spec import Spec

# The sections of help, in their order, and what help calls the value of each setting. Switches have
# no value, and for settings of type Literal help shows their choices.
SECTIONS: dict[str, dict[str, str]] = {
    "Model": {
        "model": "NAME",
        "weights": "WHICH",
        "input_shape": "SHAPE",
        "dim": "NAME=SIZE",
        "inputs_file": "FILE.npz",
        "seq_len": "N",
        "runtime": "NAME",
        "precision": "",
        "memory_format": "",
        "sparsity": "",
        "allow_code": "",
        "service_time": "TIME",
        "service_dist": "",
    },
    "Load": {
        "batch": "N",
        "clients": "N",
        "rate": "R",
        "arrivals": "PATTERN",
        "dynamic_batch": "MAX:DELAY",
        "seed": "N",
        "load_seed": "N",
    },
    "Device": {
        "device": "NAME",
        "server": "URL",
        "inputs": "",
        "workers": "N",
        "depth": "N",
        "threads": "N",
        "cpus": "LIST",
        "wait": "",
        "allow_emulated": "",
    },
    "Window": {"cool_to": "TEMP", "warmup": "TIME", "duration": "TIME", "requests": "N"},
    "Accuracy": {"eval": "FILE|FUNCTION", "eval_metric": "", "max_drop": "SHARE"},
    "Training": {
        "task": "",
        "optimizer": "",
        "accumulate": "N",
        "checkpointing": "",
        "replicas": "N",
    },
    "Prices": {"instance": "NAME", "usd_per_hour": "X", "dataset_size": "N"},
}

_REPEATABLE = ("instance", "dim")
_OTHER_DEVICES = dict.fromkeys(name for each in RUNTIMES.values() for name in each.accelerators)
_COMPLETED = {
    "model": Known(MODELS, files=True),
    "weights": Known(("random", "pretrained", "hub:"), files=True),
    "inputs_file": Known(files=True),
    "runtime": Known(RUNTIMES),
    "eval": Known(files=True),
    "device": Known(("auto", "cpu", "cuda:0", "all", *_OTHER_DEVICES)),
    "arrivals": Known(("poisson", "constant", "burst:", "trace:")),
    "instance": Known(instances),
}


def setting_options(command: Decorated) -> Decorated:
    """Give a command the flag of every setting."""
    for name in reversed([name for section in SECTIONS.values() for name in section]):
        command = setting_option(name)(command)
    return command


def setting_option(
    name: str, help_text: str | None = None, values: Sequence[str] | None = None
) -> Callable[[Decorated], Decorated]:
    """The flag of one setting. Its value is not interpreted: Spec itself checks it.

    `help_text` and `values` are for a command in which the setting has fewer values, or another
    default.
    """
    field = Spec.model_fields[name]
    section = next(title for title, names in SECTIONS.items() if name in names)
    is_own, help_text = help_text is not None, help_text or field.description or ""
    is_switch = field.annotation is bool
    if not is_own and field.default not in (None, ()) and not field.is_required() and not is_switch:
        help_text += f" [default: {_shown(name, field.default)}]"
    details: dict[str, Any] = {"cls": Option, "section": section, "help": help_text}
    if is_switch:
        details |= {"is_flag": True, "default": None}
    else:
        allowed = values or choices(field)
        details |= {
            "multiple": name in _REPEATABLE,
            "metavar": f"[{'|'.join(allowed)}]" if allowed else SECTIONS[section][name],
            "type": Known(values) if values else _COMPLETED.get(name, Known(allowed)),
        }
    return click.option("--" + name.replace("_", "-"), name, **details)


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the command line gives."""
    settings = {name: value for name, value in flags.items() if value not in (None, ())}
    if "instance" in settings:
        settings["instance"] = split_names(settings["instance"])
    if "dim" in settings:  # in a sweep, a list of them is an axis
        settings["dim"] = "+".join(settings["dim"])
    return settings


def as_axes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Comma-separated values as lists, for a sweep."""
    return {
        name: [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str) and "," in value
        else value
        for name, value in settings.items()
    }


def _shown(name: str, default: object) -> str:
    return f"{default:g}s" if name == "warmup" else str(default)


def tell(line: str, quiet: bool = False) -> None:
    """Progress: on stderr, so that stdout holds results alone. A measurement goes on without it."""
    if not quiet:
        with suppress(OSError):
            text = wrapped(shorten(escape.terminal(line)), sys.stderr)
            print(text, file=sys.stderr, flush=True)
