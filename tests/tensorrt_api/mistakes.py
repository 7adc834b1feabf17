"""Wrong uses of TensorRT. check.py requires that mypy finds every one of them.

Each wrong line has an ignore comment for exactly the error that mypy must report. mypy reports an
ignore comment that is not needed as an error. The other lines are right and must give no error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt as trt


def names(config: trt.IBuilderConfig, engine: trt.ICudaEngine) -> None:
    config.clear_flag(trt.BuilderFlag.TF32)
    config.clear_flag(trt.BuilderFlag.TF_32)  # type: ignore[attr-defined]
    config.clear_flags(trt.BuilderFlag.TF32)  # type: ignore[attr-defined]
    trt.Bilder(trt.Logger(trt.Logger.ERROR))  # type: ignore[attr-defined]
    print(engine.num_bindings)  # type: ignore[attr-defined]  # removed in TensorRT 10


def arguments(builder: trt.Builder, profile: trt.IOptimizationProfile) -> None:
    config = builder.create_builder_config()
    timing = config.create_timing_cache(b"")
    config.set_timing_cache(timing, ignore_mismatch=True)
    config.set_timing_cache(timing)  # type: ignore[call-arg]
    config.set_timing_cache(timing, ignore_mismatches=True)  # type: ignore[call-arg]
    config.set_timing_cache(timing, True, True)  # type: ignore[call-arg]
    config.set_timing_cache(b"", True)  # type: ignore[arg-type]
    profile.set_shape("x", (1, 3), [2, 3], (4, 3))
    profile.set_shape("x", (1, 3), (4, 3))  # type: ignore[call-arg]
    profile.set_shape("x", 1, 2, 4)  # type: ignore[arg-type]


def what_may_be_none(runtime: trt.Runtime, plan: bytes) -> None:
    engine = runtime.deserialize_cuda_engine(plan)
    engine.create_execution_context()  # type: ignore[union-attr]


def what_one_library_has(
    is_rtx: bool,
    is_tensorrt_10: bool,
    config: trt.IBuilderConfig,
    context: trt.IExecutionContext,
) -> None:
    if is_rtx:
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        context.is_stream_capturable(0)
    else:
        config.set_compute_capability(None, 0)  # type: ignore[attr-defined]
        context.is_stream_capturable(0)  # type: ignore[attr-defined]
    if is_tensorrt_10:
        config.set_flag(trt.BuilderFlag.FP16)
    else:
        config.set_flag(trt.BuilderFlag.FP16)  # type: ignore[attr-defined]


def what_is_converted(network: trt.INetworkDefinition, serialized: trt.IHostMemory) -> None:
    tuple(network.get_input(0).shape)[1:]
    bytes(serialized)
    network.get_input(0).shape = (1, 3)
    network.get_input(0).shape = 3  # type: ignore[assignment]
    network.get_input("x")  # type: ignore[arg-type]
