"""Whether a measurement would run code that somebody else may have written."""

from __future__ import annotations

import os
from pathlib import Path

from gpubench.models.huggingface_folder import code_in, read_config
from gpubench.registry import model_entry
from gpubench.spec.spec import Spec


def needs_code(spec: Spec) -> str | None:
    """Why loading the spec's model runs code that somebody else may have written.

    None where it runs none but gpubench's and that of installed libraries. Asked of the parsed
    settings, so that it does not matter how they were written.
    """
    known = model_entry(spec.model)
    if known is None or known.runs_code:
        return f"{spec.model} runs code"
    return brings_code(spec)


def brings_code(spec: Spec) -> str | None:
    """As `needs_code`, where the name of the model does not show it: in a folder's config.json."""
    for folder in (spec.model, spec.weights):
        config = read_config(Path(folder)) if os.path.isdir(folder) else None
        if config is not None and (code := code_in(config)):
            return f"the config.json of {folder} {code}"
    return None
