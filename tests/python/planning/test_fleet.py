"""How many instances a load needs: against trying every number, and by hand."""

from __future__ import annotations

import pytest

from gpubench.errors import InputError
from gpubench.planning.fleet import size
from gpubench.planning.traffic import Load, Step, constant_load


@pytest.mark.parametrize("rate", [0.1, 7.0, 31.0, 49.999, 50.0, 50.001, 1234.5])
@pytest.mark.parametrize("spare", [0, 1, 3])
def test_it_is_the_smallest_number_that_is_enough(rate: float, spare: int) -> None:
    load = constant_load(5000.0)
    tried = next(n for n in range(1, 100_000) if n * rate * (1 + 1e-11) >= 5000)
    found = size(load, rate, spare)
    assert found.instances == tried + spare
    assert found.utilisation_after_loss <= 1 + 1e-11
    assert found.utilisation <= found.utilisation_after_loss


def test_an_exact_multiple_needs_no_more() -> None:
    for count in range(1, 2000):
        assert size(constant_load(count * 0.1), 0.1).instances == count


def test_the_peak_decides_and_idle_time_is_paid() -> None:
    """A day: 8 hours of 300/s, 16 hours of 30/s; an instance serves 31/s for $0.17."""
    load = Load("day", (Step(8 * 3600, 300.0), Step(24 * 3600, 30.0)))
    found = size(load, 31.0, spare=1)
    assert found.instances == 11
    assert found.mean_per_second == pytest.approx(120)
    assert found.utilisation == pytest.approx(300 / 341)
    assert found.utilisation_after_loss == pytest.approx(300 / 310)
    assert found.usd_per_month(0.17) == pytest.approx(11 * 0.17 * 730)
    assert found.usd_per_million(0.17) == pytest.approx(11 * 0.17 / (120 * 3600) * 1e6)


def test_impossible_sizes() -> None:
    for spare in (-1, 10_000_000):
        with pytest.raises(InputError, match=f"--spare {spare}: give .*, from 0 to 1,000,000"):
            size(constant_load(1.0), 1.0, spare)
    with pytest.raises(InputError, match="more than a million"):
        size(constant_load(1e9), 1.0)
