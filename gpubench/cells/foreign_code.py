"""Whether a measurement would run code that another person may have written."""

from __future__ import annotations

import os
from pathlib import Path

from gpubench.models.huggingface_folder import code_in, read_config
from gpubench.registry import model_entry
from gpubench.spec.spec import Spec


def needs_code(spec: Spec) -> str | None:
    """Why loading the model of `spec` runs code that another person may have written.

    None if it runs only the code of gpubench and of installed libraries. This reads the parsed
    settings, so a different spelling of a setting cannot avoid the check.
    """
    known = model_entry(spec.model)
    if known is None or known.runs_code:
        return f"{spec.model} runs code"
    return brings_code(spec)


def brings_code(spec: Spec) -> str | None:
    """Which code the config.json of a model's folder makes run; None if it makes none run.

    `needs_code` calls this for models whose name does not show whether they run code.
    """
    for folder in (spec.model, spec.weights):
        config = read_config(Path(folder)) if os.path.isdir(folder) else None
        if config is not None and (code := code_in(config)):
            return f"the config.json of {folder} {code}"
    return None
