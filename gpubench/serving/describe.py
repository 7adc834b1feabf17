"""What a server says about a model, and whether it serves it.

This module imports no torch, so that a server that cannot be measured is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpubench.errors import InputError
from gpubench.serving.client import RequestFailed, ServerClient
from gpubench.spec.dtypes import BY_NAME, Dtype
from gpubench.spec.server_url import ServerUrl

# The data types of the protocol: "Tensor Data Types" in the page that client.py names.
_DTYPES = {
    "BOOL": "bool",
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
PROTOCOL_NAMES = {name: protocol for protocol, name in _DTYPES.items()}


@dataclass(frozen=True)
class ServedTensor:
    """An input or an output of a served model."""

    name: str
    datatype: str  # as the protocol names it
    dims: tuple[int | None, ...]  # None: any size

    @property
    def dtype(self) -> Dtype | None:
        """None: gpubench cannot send it. NumPy has no BF16, and BYTES are no numbers."""
        name = _DTYPES.get(self.datatype)
        return None if name is None else BY_NAME[name]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} [{', '.join(map(_size, self.dims))}]"


def _size(dim: int | None) -> str:
    return "?" if dim is None else str(dim)


@dataclass(frozen=True)
class ServedModel:
    """A model on a server, as the server describes it."""

    name: str
    inputs: tuple[ServedTensor, ...]  # empty: the server does not describe them
    outputs: tuple[ServedTensor, ...]
    platform: str | None
    max_batch: int | None  # samples in one request; None: unknown, or it has no batch of its own
    server_name: str | None
    server_version: str | None
    extensions: frozenset[str]


def served_name(server: ServerUrl, model: str) -> str:
    """The name of the model on the server: that in the address, else that in kserve:NAME."""
    return server.model or model.removeprefix("kserve:")


def describe(server: ServerUrl, model: str) -> ServedModel:
    """Ask the server about a model.

    Raises InputError, with the fix, if the server cannot be reached, or if it does not serve the
    model or this version of it.
    """
    name = served_name(server, model)
    try:
        with ServerClient(server) as client:
            about = client.server_metadata()
            metadata = _metadata(client, server, name)
            if not client.model_is_ready(name):
                raise InputError(
                    f"--server {server.text}: {_version(server, name)} is not ready; wait until "
                    "the server has loaded it, or read its log"
                )
            config = client.model_config(name) or {}
        return ServedModel(
            name=name,
            inputs=_tensors(metadata.get("inputs")),
            outputs=_tensors(metadata.get("outputs")),
            platform=str(metadata.get("platform") or "") or None,
            max_batch=int(config.get("max_batch_size") or 0) or None,
            server_name=str(about.get("name") or "") or None,
            server_version=str(about.get("version") or "") or None,
            extensions=frozenset(map(str, about.get("extensions") or ())),
        )
    except RequestFailed as error:
        raise InputError(str(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--server {server.text}: it describes {name} in a form that is not that of the "
            "KServe v2 protocol; check that the address is that of a model server"
        ) from None


def _metadata(client: ServerClient, server: ServerUrl, name: str) -> Mapping[str, Any]:
    try:
        return client.model_metadata(name)
    except RequestFailed as error:
        if not error.not_found:
            raise
        raise InputError(f"{error}; it has no {_version(server, name)}") from None


def _version(server: ServerUrl, name: str) -> str:
    return f"version {server.version} of {name}" if server.version else f"model {name}"


def _tensors(told: Sequence[Mapping[str, Any]] | None) -> tuple[ServedTensor, ...]:
    return tuple(
        ServedTensor(
            name=str(each["name"]),
            datatype=str(each["datatype"]).removeprefix("TYPE_"),
            # Over gRPC, JSON has 64-bit integers as text.
            dims=tuple(int(dim) if int(dim) >= 0 else None for dim in each.get("shape") or ()),
        )
        for each in told or ()
    )
