"""The two kinds of errors of gpubench, and the reason in the errors of other libraries."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Longer messages are shortened. Some libraries put whole graphs into a message.
MOST_CHARACTERS = 500

_SHORT_LIST = 20  # names that an error lists although it also proposes one

# The last line of a traceback inside a message: "RuntimeError: mat1 and mat2 ...".
_RAISED = re.compile(r"\s*(?:[\w.]+\.)?\w*(?:Error|Exception): (?P<reason>\S.*)")

# Lines before the reason in the errors of OpenVINO: places in its source code.
_OPENVINO = re.compile(r"Exception from src/|Check '.*' failed at src/|FrontEnd API failed")

_ONNXRUNTIME = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Error in execution: |(?=Non-zero status code returned)"
)
# "Non-zero status code returned while running Reshape node. Name:'r' Status Message: FILE:LINE ..."
_STATUS = re.compile(
    r"while running (?P<node>\w+) node\. Name:'[^']*' Status Message: (?P<text>.*)"
)
# "/onnxruntime_src/onnxruntime/core/x.cc:40 onnxruntime::Function(arguments) condition was false. "
_SOURCE = re.compile(r"^\S+\.(?:h|cc|cpp):\d+ (?:.*? was false\. )?")


class GpubenchError(Exception):
    """Something failed while measuring: exit status 1."""


class InputError(GpubenchError, ValueError):
    """The input cannot be used: one line that names the fix, and exit status 2.

    It is raised before anything expensive starts.
    """


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, or its class if it has no message."""
    return _text(error).splitlines()[0]


def one_line(error: BaseException) -> str:
    """The message of an error in one line. Errors of other libraries get their type before it."""
    if isinstance(error, GpubenchError):
        return shorten(first_line(error))
    return f"{type(error).__name__}: {reason_of(error)}"


def reason_of(error: BaseException) -> str:
    """One line with the reason of another library's error."""
    return reason_in(_text(error))


def cause(error: Exception) -> str:
    """One line: 'Permission denied' without '[Errno 13]' and the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(_text(error).split())


def reason_in(text: str) -> str:
    """One line with the reason of an error whose message is `text`.

    Libraries put the reason at different positions. TorchScript puts it last, after a traceback.
    ONNX Runtime puts it after its status code, and partly in the next lines. OpenVINO puts it after
    places in its source code. torch's loader of weights puts it in the line after a colon. All
    others put it in the first line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    if _ONNXRUNTIME.search(lines[0]):
        reason = _of_onnxruntime(lines)
    elif "in the TorchScript interpreter" in lines[0]:
        raised = [found["reason"] for line in lines if (found := _RAISED.fullmatch(line))]
        reason = raised[-1] if raised else lines[-1]
    elif _OPENVINO.match(lines[0]):
        reason = _of_openvino(lines)
    elif lines[0].endswith(":") and len(lines) > 1:
        reason = f"{lines[0]} {lines[1]}"
    else:
        reason = lines[0]
    return shorten(reason.rstrip(". "))


def _of_onnxruntime(lines: list[str]) -> str:
    text = _ONNXRUNTIME.sub("", " ".join(lines))
    if found := _STATUS.search(text):
        text = f"{_SOURCE.sub('', found['text'])} (in a {found['node']} node)"
    return text.removesuffix(" Please fix either the inputs/outputs or the model.")


def _of_openvino(lines: list[str]) -> str:
    """The operators that it does not have, or the first line that is no place in its code."""
    missing = [line for line in lines if line.startswith("-- No conversion rule")]
    reasons = [line for line in lines if not _OPENVINO.match(line)]
    return (missing or reasons or lines)[0].removeprefix("-- ")


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def shorten(text: str) -> str:
    """At most MOST_CHARACTERS of a message. Its end is kept, because it often has the reason."""
    if len(text) <= MOST_CHARACTERS:
        return text
    mark = " [...] "
    kept = (MOST_CHARACTERS - len(mark)) // 2
    return text[:kept] + mark + text[-kept:]


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A hint for a mistyped name: 'did you mean a or b? The choices are a, b, c'.

    `otherwise` replaces the list of choices. If a similar name was found, a long list is left out.
    """
    names = sorted(known)
    by_lower_case = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.6)
    if not close:
        return otherwise or f"choose from {', '.join(names)}"
    question = f"did you mean {' or '.join(by_lower_case[each] for each in close)}?"
    if otherwise is not None or len(names) > _SHORT_LIST:
        return question
    return f"{question} The choices are {', '.join(names)}"
