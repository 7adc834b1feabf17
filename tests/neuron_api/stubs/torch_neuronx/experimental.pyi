"""Source: "PyTorch NeuronX NeuronCore Placement APIs [Beta]" in the AWS Neuron documentation."""

from contextlib import AbstractContextManager

import torch

def neuron_cores_context(
    start_nc: int = -1, nc_count: int = -1
) -> AbstractContextManager[None]: ...
def multicore_context() -> AbstractContextManager[None]: ...
def set_neuron_cores(
    trace: torch.jit.ScriptModule, start_nc: int = -1, nc_count: int = -1
) -> None: ...
def set_multicore(trace: torch.jit.ScriptModule) -> None: ...
