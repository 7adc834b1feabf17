"""How old prices are, and where that is said."""

from __future__ import annotations

from datetime import date

import pytest
from factories import result

from gpubench.pricing import age
from gpubench.report import terminal
from gpubench.report.notes import cost_notes
from gpubench.report.results import result_tables


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "today", lambda: date(2027, 1, 17))


def test_a_price_is_old_after_180_days_and_without_a_date_it_is_not() -> None:
    assert (age.days_old("2026-07-21"), age.is_old("2026-07-21")) == (180, False)
    assert (age.days_old("2026-07-20"), age.is_old("2026-07-20")) == (181, True)
    for unknown in (None, "", "yesterday"):
        assert (age.days_old(unknown), age.is_old(unknown)) == (None, False)


def test_an_old_price_is_marked_in_tables_with_the_remedy() -> None:
    shown = terminal.text(result_tables([result(instance="c7i.xlarge")]), 160)
    assert (
        "c7i.xlarge: the price is 181 days old; gpubench prices refresh, or give --usd-per-hour"
        in shown
    )
    [cost] = result(usd_per_hour=1.0).costs
    assert not any("days old" in note for note in cost_notes(cost))
