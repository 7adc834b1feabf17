"""Tests with the mark `gpu` run if a GPU works, and are skipped otherwise.

GPUBENCH_REQUIRE_GPU=1 says that this machine must have a GPU: tests then fail instead of being
skipped.
"""

from __future__ import annotations

import functools
import os

import pytest

from gpubench import core


@functools.cache
def no_driver() -> str | None:
    """Why the core cannot use a GPU here; None if it can."""
    try:
        core.cuda.devices()
    except core.CudaUnavailable as error:
        return str(error)
    return None


@functools.cache
def no_torch_gpu() -> str | None:
    """Why torch cannot use a GPU here; None if it can."""
    try:
        import torch

        torch.zeros(1, device="cuda")
    except (ImportError, RuntimeError, AssertionError) as error:
        return "torch: " + str(error).splitlines()[0]
    return None


def simulated() -> str | None:
    """Why a test that needs the memory of a real GPU cannot run here."""
    return "it is simulated" if "GPUBENCH_TEST_CUDA_DRIVER" in os.environ else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("gpu")
    if marker is None:
        return
    reason = no_driver()
    if reason is None and marker.kwargs.get("real"):
        reason = simulated()
    if reason is None and marker.kwargs.get("torch"):
        reason = no_torch_gpu()
    if reason is None:
        return
    if os.environ.get("GPUBENCH_REQUIRE_GPU") == "1":
        pytest.fail(f"GPUBENCH_REQUIRE_GPU=1 and no GPU works: {reason}", pytrace=False)
    pytest.skip(f"no GPU works: {reason}")
