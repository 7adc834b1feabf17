"""kserve: a model server executes the model. It speaks the KServe v2 protocol: docs/serving.md.

A worker is a connection. Its batch is one request to the server, sent from the memory of this
machine, with binary tensors and without shared memory.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gpubench.engines import refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.engines.kserve_signature import SentInput, received_outputs, sent_inputs
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.serving.client import NamedArray, RequestFailed, ServerClient
from gpubench.serving.describe import describe
from gpubench.serving.served_by import ServedBy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpubench.spec.cell import Cell

_BINARY = "binary_tensor_data"  # the name of the extension, as Triton lists it
_MOST_KEPT = 64  # requests of a connection whose arrays are kept; a pool has no more


def refusal(cell: Cell) -> str | None:
    return refusals.of_kserve(cell)


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Connects to the server. Raises GpubenchError if it takes other inputs than the model."""
    assert cell.server is not None
    served = describe(cell.server, cell.model)
    example = model.make_inputs(seeded(0), model.fixed_batch or cell.batch)
    inputs = sent_inputs(model, example, served)
    outputs = received_outputs(model, served)
    served_by = ServedBy(cell.server, served)
    engine_inputs = tuple(map(torch.Tensor.to, example, (each.dtype for each in inputs)))
    served_by.tensors = _form_of_tensors(served_by, inputs, outputs, engine_inputs)
    _accept_read_only_arrays()
    connection = PerWorker(lambda: _Connection(served_by, inputs, outputs))
    return Engine(
        forward=lambda *tensors: connection.of_this_thread.infer(tensors),
        execute=lambda request: connection.of_this_thread.execute(request),
        device=torch.device("cpu"),  # where inputs begin and outputs arrive
        input_dtype=None,
        input_dtypes=tuple(each.dtype for each in inputs),
        thread_modes=connection.entered,
        library=served_by.software,
        served_by=served_by,
    )


def _form_of_tensors(
    served_by: ServedBy, inputs: tuple[SentInput, ...], outputs: tuple[str, ...], example: Tensors
) -> Literal["binary", "json"]:
    """Whether the server takes tensors in binary form, or only in JSON.

    Not every server with the extension lists it, so one request is tried.
    """
    if served_by.server.protocol == "grpc" or _BINARY in served_by.model.extensions:
        return "binary"
    served_by.tensors = "binary"
    try:
        _Connection(served_by, inputs, outputs).infer(example)
    except RequestFailed:
        return "json"
    return "binary"


class _Connection:
    """The connection of one worker."""

    def __init__(
        self, served_by: ServedBy, inputs: tuple[SentInput, ...], outputs: tuple[str, ...]
    ) -> None:
        self._served_by, self._inputs, self._outputs = served_by, inputs, outputs
        self._model = served_by.model.name
        self._binary = served_by.tensors != "json"
        self._client = ServerClient(served_by.server)
        self._sent = served_by.connected()
        self._kept: dict[int, tuple[Tensors, list[NamedArray]]] = {}

    def infer(self, tensors: Tensors) -> Tensors:
        return tuple(map(torch.from_numpy, self._exchange(self._named(tensors))))

    def execute(self, request: Tensors) -> None:
        """As `infer`, without outputs. The arrays of a request are made once.

        torch's conversions from and to arrays take about 50 us on a machine whose caches are busy
        with the server, a fifth of what a request costs this process.
        """
        kept = self._kept.get(id(request))
        if kept is None:
            if len(self._kept) == _MOST_KEPT:
                self._kept.clear()
            # It holds the request, so that no other one gets its id.
            kept = self._kept[id(request)] = request, self._named(request)
        self._exchange(kept[1])

    def _named(self, tensors: Tensors) -> list[NamedArray]:
        return [(each.name, each.datatype, tensors[each.place].numpy()) for each in self._inputs]

    def _exchange(self, inputs: list[NamedArray]) -> list[NDArray[Any]]:
        """Send a request, and read all outputs of its answer."""
        began_ns = time.thread_time_ns()
        answer = self._client.infer(self._model, inputs, self._outputs, binary=self._binary)
        names = self._outputs or answer.output_names()
        outputs = [answer.output(name) for name in names]
        if not self._sent.requests:
            self._served_by.version = answer.model_version or None
        self._sent.requests += 1
        self._sent.cpu_ns += time.thread_time_ns() - began_ns
        return outputs


def _accept_read_only_arrays() -> None:
    """Let torch give its warning about arrays that cannot be written, which it gives only once.

    The arrays of an answer are such. Nothing writes to them.
    """
    array = np.zeros(1)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(array)
