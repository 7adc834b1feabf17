"""Wrong uses of torch-neuronx. check.py requires that mypy finds every one of them.

Each wrong line has an ignore comment for exactly the error that mypy must report. mypy reports an
ignore comment that is not needed as an error. The other lines are right and must give no error.
"""

from __future__ import annotations

import torch_neuronx


def names(path: str) -> None:
    torch_neuronx.tracing(path)  # type: ignore[attr-defined]
    torch_neuronx.neuron_cores_context()  # type: ignore[attr-defined]
    torch_neuronx.experimental.neuron_core_context()  # type: ignore[attr-defined]
    torch_neuronx.experimental.neuron_cores_context()


def arguments() -> None:
    torch_neuronx.trace(abs, (), compiler_args=["--auto-cast", "none"])
    torch_neuronx.trace(abs, (), ["--auto-cast", "none"])  # type: ignore[arg-type, call-arg]
    torch_neuronx.trace(abs, (), compiler_arguments=[])  # type: ignore[call-arg]
    torch_neuronx.trace(abs, (), compiler_args=1)  # type: ignore[arg-type]
    torch_neuronx.trace(abs)  # type: ignore[call-arg]
    with torch_neuronx.experimental.neuron_cores_context(start_nc=0, nc_count=1):
        pass
    torch_neuronx.experimental.neuron_cores_context(core=0)  # type: ignore[call-arg]
    torch_neuronx.experimental.neuron_cores_context("0")  # type: ignore[arg-type]
