"""The models that gpubench knows by name.

This table is read by every command, so it imports nothing: the file that loads a model is imported
only when the model is measured. To add a model, write one file with a `load` function like those
beside this one, and add its line here (see docs/extending.md).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    file: str | None  # module with load(spec) -> LoadedModel; None: the core makes it up itself
    seq_len: int | None = None  # default tokens per sequence; None: the model takes no text
    max_seq_len: int | None = None


MODELS: dict[str, Preset] = {
    "bert-base": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "bert-large": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "distilbert": Preset("gpubench.models.bert", seq_len=128, max_seq_len=512),
    "resnet50": Preset("gpubench.models.resnet"),
    "synthetic": Preset(None),
}
