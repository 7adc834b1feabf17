"""What models and libraries say while a command runs them."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

# Read by the libraries when they are imported, so this module imports none of them.
_ERRORS_ALONE = {
    "HF_HUB_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_NO_PROGRESS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
# Their remarks are about their own insides (deprecated calls, attempts that failed, libraries that
# are not there): what matters to a measurement comes as an error.
_REMARKING = (
    "huggingface_hub",
    "nncf",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torch.onnx",
    "torch.utils._pytree",
    "torch.utils.cpp_extension",
    "torchao",
    "transformers",
)
_WARNING = r"(executorch|huggingface_hub|nncf|onnx\w*|openvino|torch\w*|transformers)(\.|$)"


@contextmanager
def foreign_code(quiet: bool = False) -> Iterator[None]:
    """A block that runs code of models and libraries. Enter it before they are imported.

    What they print goes to standard error, which has no results. Of what libraries remark there,
    `quiet` leaves nothing but errors that nobody catches. Otherwise the progress of downloads is
    left on a terminal, and the warnings of a user's own code.
    """
    _set(_ERRORS_ALONE, always=quiet)
    if quiet or not sys.stderr.isatty():
        _set(_NO_PROGRESS, always=quiet)
    if quiet:
        os.environ["PYTHONWARNINGS"] = "ignore"  # of processes that compile
    for name in _REMARKING:
        logging.getLogger(name).setLevel(logging.ERROR)
    disabled = logging.root.manager.disable
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.filterwarnings("ignore", module=_WARNING)
            if quiet:
                warnings.simplefilter("ignore")
                logging.disable(logging.ERROR)
            yield
    finally:
        logging.disable(disabled)


def _set(variables: dict[str, str], always: bool) -> None:
    for name, value in variables.items():
        if always or name not in os.environ:
            os.environ[name] = value
