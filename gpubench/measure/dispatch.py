"""How many requests a cell may have in one batch and in service."""

from __future__ import annotations

from gpubench.spec.spec import Spec


def most_requests_per_batch(spec: Spec) -> int:
    """Requests that may depart together: dynamic batching counts samples, the core requests."""
    return spec.dynamic_batch_limits()[0] // spec.batch


def most_in_flight(spec: Spec) -> int:
    """Requests that can be in service at one time."""
    return (spec.workers or 1) * (spec.depth or 1) * most_requests_per_batch(spec)


def longest_delay_ns(spec: Spec) -> int:
    return round(spec.dynamic_batch_limits()[1] * 1e9)
