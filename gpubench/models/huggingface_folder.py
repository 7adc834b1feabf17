"""Reads the config.json of a Hugging Face folder, without torch and without transformers.

It shows whether loading the model would run code. transformers runs code from the folder if
`auto_map` names it, and fetches code if an attention implementation is the name of a repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")

# These models use their first positions for padding.
_PADDED_POSITIONS = frozenset(
    {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta",
     "xlm-roberta-xl", "xmod"}
)  # fmt: skip


def refusal(cell: Cell) -> str | None:
    """Why the cell cannot be measured with its folder, and what to change; None if it can.

    Also None for a model on a hub, whose configuration is known only when it is loaded.
    """
    if cell.model.startswith("hub:"):
        return None
    folder = Path(cell.model)
    if not (folder / "config.json").is_file():
        return f"--model {cell.model}: there is no config.json in it; give the folder of a model"
    config = read_config(folder)
    if config is None:
        return f"--model {cell.model}: its config.json is not JSON; save the model again"
    known = positions(config)
    if known is not None and cell.seq_len is not None and cell.seq_len > known:
        return f"--seq-len {cell.seq_len}: {cell.model} has {known} positions; use at most {known}"
    return None


def default_seq_len(model: str, otherwise: int) -> int:
    """The default tokens per sequence: `otherwise`, or fewer if the model has fewer positions."""
    config = None if model.startswith("hub:") else read_config(Path(model))
    return min(otherwise, (config and positions(config)) or otherwise)


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a folder; None if it does not exist or cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def code_in(config: Mapping[str, Any]) -> str | None:
    """Which code a configuration makes transformers run; None if it makes it run none."""
    for name, value in _settings(config):
        if name == "auto_map" and value:
            return "names code in the folder (auto_map)"
        # "org/repository", or a mapping with such a name for each part of the model
        names = value.values() if isinstance(value, dict) else [value]
        if name.endswith("_implementation") and any("/" in str(each) for each in names):
            return f"makes transformers fetch code from a repository ({name})"
    return None


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All settings, including the settings of its parts."""
    for name, value in config.items():
        yield str(name), value
        if isinstance(value, dict):
            yield from _settings(value)


def positions(config: Mapping[str, Any]) -> int | None:
    """The largest number of tokens in a sequence; None if the configuration sets no limit."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in _POSITIONS:
            if isinstance(number := part.get(name), int) and number > 0:
                if part.get("model_type") in _PADDED_POSITIONS:
                    number -= int(part.get("pad_token_id") or 0) + 1
                return number
    return None
