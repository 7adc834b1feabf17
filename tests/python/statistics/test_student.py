"""Student's t distribution is that of SciPy."""

from __future__ import annotations

import math

import pytest
import scipy.stats

from gpubench.statistics.student import student_t, t_cdf, t_quantile

DOFS = [0.5, 1, 2, 3, 4.3, 9, 18, 200, 2e5, 1e12]


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.95, 0.975, 0.9999, 1 - 1e-9, 0.01])
def test_quantiles(dof: float, probability: float) -> None:
    exact = scipy.stats.t.ppf(probability, dof)
    assert t_quantile(probability, dof) == pytest.approx(exact, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("t", [-math.inf, -80, -3.1, -0.2, 0, 0.4, 2.5, 40, math.inf])
def test_shares_below_a_value(dof: float, t: float) -> None:
    assert t_cdf(t, dof) == pytest.approx(scipy.stats.t.cdf(t, dof), rel=1e-6, abs=1e-12)


def test_two_sided_quantiles() -> None:
    assert student_t(4, 0.99) == pytest.approx(scipy.stats.t.ppf(0.995, 4), rel=1e-8)


@pytest.mark.parametrize(("probability", "dof"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_what_has_no_quantile(probability: float, dof: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(probability, dof)
