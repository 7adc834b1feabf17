"""What the handler of a serverless function answers. `gpubench.serverless` writes it, and
`gpubench.measure.cold_url` reads it.

An answer comes from the network, so `parse_answer` checks its size, its form and its figures.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from gpubench.errors import GpubenchError, InputError
from gpubench.files.untrusted import parse_json
from gpubench.results.cold_result import StartSeconds
from gpubench.results.result import EngineInfo, Environment, Failure, Part
from gpubench.spec.spec import Spec

MOST_INFERENCES = 100  # in one call
MOST_ANSWER_BYTES = 256 << 10

_NotNegative = Annotated[float, Field(ge=0)]


class ProcessStart(Part):
    """How the process of the function started."""

    seconds: StartSeconds
    ready_seconds: _NotNegative  # the sum of the stages
    excluded_seconds: _NotNegative  # what gpubench did meanwhile, in no stage
    from_cache: bool | None = None


class FunctionAnswer(Part):
    """The answer to one request."""

    schema_: Literal[1] = Field(1, alias="schema")
    kind: Literal["function"] = "function"
    process: str = Field(pattern="^[0-9a-f]{32}$")  # random; another process has another one
    request: int = Field(ge=1)  # which request of this process it was
    cold: bool  # whether it was the first one
    age_seconds: _NotNegative  # of the process, when the handler received this request
    start: ProcessStart
    handler_ms: _NotNegative  # from the request to this answer
    inference_ms: list[_NotNegative] = Field(min_length=1, max_length=MOST_INFERENCES)
    memory_bytes: int | None = Field(default=None, gt=0)  # that the process may use
    peak_host_bytes: int | None = Field(default=None, gt=0)
    spec: Spec
    environment: Environment
    engine: EngineInfo = EngineInfo()


class FailedAnswer(Part):
    """The answer of a process whose start or whose inference failed."""

    schema_: Literal[1] = Field(1, alias="schema")
    kind: Literal["function"] = "function"
    error: Failure


def parse_answer(text: str, origin: str) -> FunctionAnswer | Failure:
    """The answer, or why the function failed.

    Raises GpubenchError for anything else.
    """
    try:
        document = parse_json(text, origin)
    except InputError as error:
        raise GpubenchError(f"{error}; {_NOT_OURS}") from None
    keys = document if isinstance(document, dict) else {}
    if keys.get("kind") != "function":
        raise GpubenchError(f"{origin}: it is not the answer of gpubench's handler; {_NOT_OURS}")
    try:
        if "error" in keys:
            return FailedAnswer.model_validate_json(text).error
        return FunctionAnswer.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise GpubenchError(
            f"{origin}: {place}: {first['msg']}; the function may have another version of gpubench"
        ) from None


_NOT_OURS = (
    "deploy the handler of examples/serverless at this URL, or check the path and the permissions"
)
