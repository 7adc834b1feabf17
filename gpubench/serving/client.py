"""One connection to a model server, over HTTP or gRPC, through tritonclient.

The protocol: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol.
Statistics and the configuration of a model are extensions of Triton; other servers may have them.
"""

from __future__ import annotations

import importlib
import json
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gpubench.errors import GpubenchError, InputError, reason_in, reason_of
from gpubench.serving import token
from gpubench.spec.server_url import ServerUrl
from gpubench.system import packages

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The time to connect and the time for an answer about the server, and the time for an inference.
CONTROL_TIMEOUT_S = 10.0
INFERENCE_TIMEOUT_S = 60.0

_LARGEST_MESSAGE = 2**31 - 1  # bytes; the default of gRPC is 4 MiB

# (name, data type of the protocol, array) of one input.
NamedArray = tuple[str, str, "NDArray[Any]"]


def missing() -> str | None:
    """What to install; None if everything is installed."""
    return packages.missing("kserve", "tritonclient", "grpc", "geventhttpclient")


class RequestFailed(GpubenchError):
    """The server answered with an error, or did not answer. `status` is that of the protocol."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def unsupported(self) -> bool:
        """Whether the server does not know this kind of request."""
        return self.not_found or self.status in {"405", "501", "StatusCode.UNIMPLEMENTED"}

    @property
    def not_found(self) -> bool:
        return self.status in {"404", "400", "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"}


class ServerClient:
    """One connection. The thread that made it is the only one that may use it.

    Raises InputError if a token cannot be sent safely.
    """

    def __init__(self, server: ServerUrl) -> None:
        self._server = server
        self._library = importlib.import_module(f"tritonclient.{server.protocol}")
        self._answers = importlib.import_module("tritonclient.utils").InferenceServerException
        self._headers = token.headers(server) or None
        self._is_grpc = server.protocol == "grpc"
        self._control: dict[str, Any] = {"headers": self._headers}
        self._timeout: dict[str, Any] = {}
        # Parts of the last message, which the next one can use again.
        self._tensors: dict[str, tuple[tuple[int, ...], Any]] = {}
        self._asked: tuple[Sequence[str], list[Any] | None] | None = None
        if self._is_grpc:
            self._control |= {"client_timeout": CONTROL_TIMEOUT_S, "as_json": True}
            self._timeout["client_timeout"] = INFERENCE_TIMEOUT_S
        try:
            self._client: Any = self._grpc_client() if self._is_grpc else self._http_client()
        except Exception as error:  # tritonclient raises several types
            raise self._failed(error) from None

    def _grpc_client(self) -> Any:
        channel = [
            ("grpc.max_send_message_length", _LARGEST_MESSAGE),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            # Otherwise all channels of a process share one TCP connection:
            # https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
            ("grpc.use_local_subchannel_pool", 1),
        ]
        roots = ssl.get_default_verify_paths().cafile if self._server.tls else None
        return self._library.InferenceServerClient(
            self._server.address,
            ssl=self._server.tls,
            root_certificates=roots,
            channel_args=channel,
        )

    def _http_client(self) -> Any:
        return self._library.InferenceServerClient(
            self._server.address + self._server.base,
            connection_timeout=CONTROL_TIMEOUT_S,
            network_timeout=INFERENCE_TIMEOUT_S,
            ssl=self._server.tls,
            ssl_context_factory=_verifying_context if self._server.tls else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def server_metadata(self) -> dict[str, Any]:
        """Name, version and extensions of the server. Raises RequestFailed."""
        return self._told(self._client.get_server_metadata)

    def model_metadata(self, model: str) -> dict[str, Any]:
        """The inputs and outputs of a model. Raises RequestFailed."""
        return self._told(self._client.get_model_metadata, model, self._server.version)

    def model_is_ready(self, model: str) -> bool:
        control = {name: value for name, value in self._control.items() if name != "as_json"}
        return bool(self._call(self._client.is_model_ready, model, self._server.version, **control))

    def model_config(self, model: str) -> dict[str, Any] | None:
        """The configuration of a model, as Triton gives it; None if the server gives none."""
        config = self._if_supported(self._client.get_model_config, model)
        return None if config is None else config.get("config", config)

    def statistics(self, model: str) -> list[dict[str, Any]] | None:
        """The counters of each version of a model since the server started, as Triton gives them.

        None if the server gives none.
        """
        found = self._if_supported(self._client.get_inference_statistics, model)
        return None if found is None else found.get("model_stats")

    def infer(
        self,
        model: str,
        inputs: Sequence[NamedArray],
        outputs: Sequence[str],
        *,
        binary: bool,
    ) -> ServerAnswer:
        """One inference. `outputs` are their names; none: all, in the order of the answer.

        Without `binary`, tensors are in JSON, which only HTTP has. Raises RequestFailed.
        """
        form = {} if self._is_grpc else {"binary_data": binary}
        try:
            sent = [self._tensor(*each).set_data_from_numpy(each[2], **form) for each in inputs]
            if self._asked is None or self._asked[0] != outputs:
                asked = [self._library.InferRequestedOutput(name, **form) for name in outputs]
                self._asked = outputs, asked or None
            return ServerAnswer(
                self._client.infer(
                    model,
                    sent,
                    model_version=self._server.version,
                    outputs=self._asked[1],
                    headers=self._headers and dict(self._headers),
                    **self._timeout,
                )
            )
        except Exception as error:  # tritonclient raises several types
            raise self._failed(error) from None

    def _tensor(self, name: str, datatype: str, array: NDArray[Any]) -> Any:
        """The message of an input, without its data. Requests of the same shape use it again."""
        known = self._tensors.get(name)
        if known is None or known[0] != array.shape:
            known = array.shape, self._library.InferInput(name, array.shape, datatype)
            self._tensors[name] = known
        return known[1]

    def _if_supported(self, ask: Callable[..., Any], model: str) -> dict[str, Any] | None:
        try:
            return self._told(ask, model, self._server.version)
        except RequestFailed as error:
            if error.unsupported:
                return None
            raise

    def _told(self, ask: Callable[..., Any], *arguments: str) -> dict[str, Any]:
        told = self._call(ask, *arguments, **self._control)
        if not isinstance(told, dict):
            raise RequestFailed(f"--server {self._server.text}: its answer is no object", "")
        return told

    def _call(self, ask: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        try:
            return ask(*arguments, **options)
        except Exception as error:  # tritonclient raises several types
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> Exception:
        """The error as one line that names the server and the fix."""
        if isinstance(error, InputError):
            return error
        where = f"--server {self._server.text}"
        status = str(getattr(error, "status", lambda: "")() or "")
        reason = token.hidden(_reason(error), self._headers)  # a server may repeat the request
        is_answer = isinstance(error, self._answers)
        if not is_answer or status in {
            "StatusCode.UNAVAILABLE",
            "StatusCode.DEADLINE_EXCEEDED",
        }:
            return RequestFailed(
                f"{where}: it cannot be reached, or the connection was lost ({reason}); check that "
                f"it runs, and that {self._server.port} is its port for {self._server.protocol}",
                status or "unreachable",
            )
        if status in {"401", "403", "StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED"}:
            return RequestFailed(
                f"{where}: it refuses access ({reason}); put a token into the environment variable "
                f"{token.variable(self._server)}",
                status,
            )
        return RequestFailed(f"{where}: the server answers: {reason}", status)


class ServerAnswer:
    """The answer to one inference."""

    def __init__(self, result: Any) -> None:
        self._result = result

    @property
    def model_version(self) -> str:
        """The version that answered; empty if the server does not say it."""
        response = self._result.get_response()
        if isinstance(response, dict):
            return str(response.get("model_version") or "")
        return str(response.model_version)

    def output_names(self) -> list[str]:
        response = self._result.get_response()
        if isinstance(response, dict):
            return [str(each["name"]) for each in response.get("outputs", [])]
        return [each.name for each in response.outputs]

    def output(self, name: str) -> NDArray[Any]:
        """Raises GpubenchError if the answer has no such output, or one that cannot be read."""
        try:
            found = self._result.as_numpy(name)
        except (ValueError, TypeError, KeyError) as error:
            raise GpubenchError(
                f"the output {name} of the server cannot be read ({reason_of(error)}); the answer "
                "to a binary request must be binary"
            ) from None
        if found is None:
            raise GpubenchError(f"the server's answer has no output {name}")
        array: NDArray[Any] = found
        return array


def _verifying_context() -> ssl.SSLContext:
    """TLS that checks the certificate and the name of the host. SSL_CERT_FILE names other roots."""
    from gevent import ssl as gevent_ssl

    context: ssl.SSLContext = gevent_ssl.create_default_context()
    return context


def _reason(error: Exception) -> str:
    """One line of what the server or the library says."""
    message = getattr(error, "message", None)
    text = str(message() if callable(message) else message or error).strip()
    _, found, body = text.partition("\nresponse: ")
    if found:  # an error that is not in the form of the protocol
        try:
            told = json.loads(body)
            text = str(told.get("detail") or told.get("message") or body)
        except (ValueError, AttributeError):
            text = body
    return reason_in(text or type(error).__name__)
