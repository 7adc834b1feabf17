"""The part of torch-neuronx that gpubench may use, as the AWS Neuron documentation describes it.

Source: "PyTorch NeuronX Tracing API for Inference" (SDK 2.28). These stubs were written from that
page, not made from the package.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from . import experimental as experimental

def trace(
    func: torch.nn.Module | Callable[..., object],
    example_inputs: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    input_output_aliases: Mapping[torch.Tensor, int] = ...,
    compiler_workdir: str | None = None,
    compiler_args: str | Sequence[str] | None = None,
    partitioner_config: object | None = None,
    inline_weights_to_neff: bool = True,
    cpu_backend: bool = False,
) -> torch.jit.ScriptModule: ...
def move_trace_to_device(trace: torch.jit.ScriptModule, device_id: int) -> None: ...
