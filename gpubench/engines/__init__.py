"""The runtimes that gpubench knows by name.

Like the table of models, this imports nothing. To add a runtime, write one file with a `build`
function like those beside this one, and add its line here (see docs/extending.md).
"""

from __future__ import annotations

# Name of the runtime -> module with build(model, spec) -> Engine and refusal(spec) -> str | None.
RUNTIMES: dict[str, str] = {
    "eager": "gpubench.engines.eager",
    "torchscript": "gpubench.engines.torchscript",
    "compile": "gpubench.engines.compile",
    "aotinductor": "gpubench.engines.aotinductor",
    "onnxruntime": "gpubench.engines.onnxruntime",
    "tensorrt": "gpubench.engines.tensorrt",
    "tensorrt-rtx": "gpubench.engines.tensorrt",
}

# Those whose machine code is made for the number of workers and of threads that will run it.
COMPILED_FOR_WORKERS = frozenset({"compile", "aotinductor"})

# Those whose engines are made for the batch sizes that dynamic batching may form.
BUILT_FOR_BATCHES = frozenset({"tensorrt", "tensorrt-rtx"})
