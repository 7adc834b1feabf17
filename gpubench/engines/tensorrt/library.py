"""The libraries of TensorRT, imported when they are used, and what they say.

How code that uses them is written, so that each use can be checked against the real bindings of
every library, stands in tests/tensorrt_api.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt as trt  # stubs made from the bindings by tests/tensorrt_api

# By the name of the runtime.
LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


def library(runtime: str) -> ModuleType:
    return importlib.import_module(LIBRARIES[runtime])


def version_of(runtime: str) -> str:
    """'tensorrt_rtx 1.7.1.116'."""
    return f"{LIBRARIES[runtime]} {library(runtime).__version__}"


class ErrorLog:
    """A logger that keeps what is wrong, and says nothing by itself."""

    def __init__(self, runtime: str) -> None:
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = library(runtime)
        self._errors: list[str] = []
        errors, severities = self._errors, trt.ILogger.Severity

        class Keeping(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
                if severity in (severities.ERROR, severities.INTERNAL_ERROR):
                    errors.append(msg)

        self.logger: trt.ILogger = Keeping()

    @property
    def first(self) -> str:
        """What went wrong first, in one line: the rest follows from it."""
        return one_line(self._errors)


def one_line(reasons: list[str]) -> str:
    return " ".join((reasons or ["no reason given"])[0].split())
