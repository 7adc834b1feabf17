"""Which cells share an engine. It imports no torch, so that a process without torch can ask."""

from __future__ import annotations

from gpubench.models.local_files import state_of_files
from gpubench.spec.cell import Cell

# The settings on which an engine, its inputs and its accuracy depend. Cells that differ only in
# other settings share all three.
_ENGINE_SETTINGS = (
    "model", "given_inputs", "dims", "inputs_file", "weights", "runtime", "precision",
    "memory_format", "sparsity", "batch", "seq_len", "devices", "server", "inputs", "seed", "eval",
    "eval_metric", "cpus", "training",
)  # fmt: skip


def engine_settings(cell: Cell) -> tuple[object, ...]:
    """The settings of a cell on which its engine depends. They are the same on every machine."""
    runtime = cell.runtime_entry
    workers = (cell.workers, cell.threads) if runtime.compiled_for_workers else ()
    batches = (cell.batch_limits.samples,) if runtime.built_for_batches else ()
    captures = (cell.is_one_stream,) if runtime.captures_itself else ()
    return (*(getattr(cell, name) for name in _ENGINE_SETTINGS), *workers, *batches, *captures)


def engine_key(cell: Cell) -> tuple[object, ...]:
    """Neighbouring cells with equal keys share an engine. The key changes if a file changes."""
    return (*engine_settings(cell), state_of_files(cell))
