"""What the config.json of a Hugging Face folder says, read without torch and without its libraries.

Above all: whether loading it would run code. transformers runs code that comes with a model where
`auto_map` names it, and fetches code where an attention implementation is the name of a repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")

# The first positions of these are those of padding.
_PADDED_POSITIONS = frozenset(
    {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta",
     "xlm-roberta-xl", "xmod"}
)  # fmt: skip


def refusal(cell: Cell) -> str | None:
    """Why the cell cannot be measured with its folder, and what to change; None where it can.

    A name on a hub is only known when it is loaded.
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
        return f"--seq-len {cell.seq_len}: {cell.model} has {known} positions; use at most that"
    return None


def default_seq_len(model: str, otherwise: int) -> int:
    """Tokens per sequence where the user names no number: not more than the model has positions."""
    config = None if model.startswith("hub:") else read_config(Path(model))
    return min(otherwise, (config and positions(config)) or otherwise)


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.json of a folder; None where there is none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def code_in(config: Mapping[str, Any]) -> str | None:
    """Which code a configuration makes transformers run; None where it makes it run none."""
    for name, value in _settings(config):
        if name == "auto_map" and value:
            return "names code of its own (auto_map)"
        # "org/repository", or the like for a part of the model
        names = value.values() if isinstance(value, dict) else [value]
        if name.endswith("_implementation") and any("/" in str(each) for each in names):
            return f"has code fetched from elsewhere ({name})"
    return None


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All settings, those of its parts included."""
    for name, value in config.items():
        yield str(name), value
        if isinstance(value, dict):
            yield from _settings(value)


def positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a sequence may have; None where the configuration sets no limit."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in _POSITIONS:
            if isinstance(number := part.get(name), int) and number > 0:
                if part.get("model_type") in _PADDED_POSITIONS:
                    number -= int(part.get("pad_token_id") or 0) + 1
                return number
    return None
