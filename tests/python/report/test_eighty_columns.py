"""Every table fits a terminal of 80 columns, and no figure and no word is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from factories import TOO_FEW, cold_result, result
from planning_results import documents, open_loop, search
from rich.cells import cell_len

from gpubench.planning.candidates import GivenPrices
from gpubench.planning.compare import compare
from gpubench.planning.decision import decide
from gpubench.pricing import bundled_catalog
from gpubench.report import escape, terminal, wrap
from gpubench.report.cold import cold_tables
from gpubench.report.comparison import tall_table
from gpubench.report.forecast import forecast_tables
from gpubench.report.plan import plan_tables
from gpubench.report.prices import price_list
from gpubench.report.results import result_tables
from gpubench.report.search import search_tables
from gpubench.report.search_sweep import sweep_tables
from gpubench.report.sizes import size_tables
from gpubench.report.table import Table, with_texts
from gpubench.results.forecast import CellForecast, Forecast
from gpubench.results.result import Result
from gpubench.spec.objective import parse_objective

WIDTH = 80
LONG = "my_models.bert_variants.large_sparse:make_model_for_the_benchmarks_of_november"
INSTANCES = ("g5.xlarge", "g6.xlarge", "c7i.xlarge", "m7i.4xlarge", "g4dn.xlarge", "g5.12xlarge")
SETTINGS: dict[str, Any] = {"model": LONG, "allow_code": True, "instance": INSTANCES}


def cells() -> list[Result]:
    sizes = ((1, 1), (1, 2), (128, 1), (128, 16))
    found = [
        result(12345.6, 1234.5, batch=batch, workers=workers, clients=4096, **SETTINGS)
        for batch, workers in sizes
    ]
    return [*found, result(reasons=(TOO_FEW,), **SETTINGS), result(batch=4, instance=INSTANCES)]


def forecast() -> Forecast:
    each = [CellForecast(cell, 3, 2, 1234.5, "settings") for cell in cells()]
    return Forecast(each, {"no such GPU": 2}, "repeat", at_most=True)


def comparison() -> Table:
    a, b = ([result(x, batch=n, **SETTINGS) for n in (1, 128)] for x in (18.4, 19.4))
    return tall_table(compare(a, b), LONG, f"{LONG}_b")


TABLES: dict[str, Callable[[], list[Table]]] = {
    "run and sweep": lambda: result_tables(cells()),
    "report --each-repeat": lambda: result_tables(cells(), each_repeat=True),
    "report of models": lambda: size_tables(cells()),
    "search": lambda: search_tables(search(9.0, (8.0, 10.0), **SETTINGS)),
    "sweep --objective": lambda: sweep_tables(
        [search(rate, (rate - 1, rate + 1), **SETTINGS, batch=8) for rate in (9.0, 12.0)]
    ),
    "sweep --dry-run": lambda: forecast_tables(forecast()),
    "cold": lambda: cold_tables([cold_result()]),
    "compare and ab": lambda: [comparison()],
    "prices list": lambda: [price_list(bundled_catalog().instances, "on-demand")],
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_80_columns_and_breaks_no_word(name: str) -> None:
    tables = TABLES[name]()
    shown = terminal.text(tables, WIDTH)
    assert max(map(cell_len, shown.split("\n"))) <= WIDTH
    assert "…" not in shown
    words = set(re.split(r"[\s/.:_,;=@\-¹²³⁴⁵⁶⁷⁸⁹⁰]+", shown))
    for table in (with_texts(each, escape.terminal) for each in tables):
        texts = [*table.facts, *((note.text, "") for note in table.notes)]
        expected = [text for pair in texts for text in pair] + list(table.remarks)
        left_out = set(re.findall(r"Not shown at this width: ([^.]*)\.", " ".join(shown.split())))
        for index, column in enumerate(table.columns):
            if not any(column.title in listed for listed in left_out):
                expected += [column.title, *(row[index].text for row in table.rows)]
        for text in expected:
            wanted = set(re.split(r"[\s/.:_,;=@\-¹²³⁴⁵⁶⁷⁸⁹⁰]+", text))
            assert wanted <= words | {""}, text


def test_the_plan_fits_80_columns() -> None:
    every = documents(*(open_loop(rate, 20.0, 25.0, batch=8) for rate in (9.0, 12.0)))
    shown = terminal.text(
        plan_tables(decide(every, parse_objective("p95:100ms"), GivenPrices(INSTANCES))),
        WIDTH,
    )
    assert max(map(cell_len, shown.split("\n"))) <= WIDTH
    assert "…" not in shown


def test_settings_that_leave_no_room_for_figures_are_divided_and_rows_have_numbers() -> None:
    many: dict[str, Any] = {"memory_format": "channels_last", "inputs": "device", "cpus": "0-1"}
    many |= {"warmup": 5.0, "requests": 500, "wait": "block", "seed": 7, "cool_to": 60.0}
    cells = [
        result(9.0, 100.0, model="examples/a_model.py:one"),
        result(1234.5, 0.5, model="examples/a_model.py:another", runtime="onnxruntime", **many),
    ]
    shown = terminal.text(result_tables(cells), WIDTH)
    assert "…" not in shown
    assert max(map(cell_len, shown.split("\n"))) <= WIDTH
    assert len(re.findall(r"^row ", shown, re.MULTILINE)) > 1
    assert re.search(r"^ +[12] .*1,234\b", shown, re.MULTILINE)


def test_a_long_name_is_broken_after_a_separator() -> None:
    found = wrap.lines("models/a_long_name-of.a:function here", 12)
    assert found == ["models/a_", "long_name-", "of.a:", "function", "here"]
    assert all(cell_len(line) <= 12 for line in found)


def test_a_short_word_gets_no_break_that_a_column_asks_for() -> None:
    assert wrap.least_width("0-1") == 3
    assert wrap.least_width("0-1 bert-base-uncased") == len("uncased")


def test_a_name_without_separators_is_broken_anywhere() -> None:
    assert wrap.lines("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert wrap.lines("語" * 6, 5) == ["語語", "語語", "語語"]
    assert wrap.lines("", 5) == [""]


def test_only_words_that_are_too_long_are_broken() -> None:
    assert wrap.with_short_words("a few  words", 5) == "a few  words"
    assert wrap.with_short_words("see /home/me/run now", 9) == "see /home/me/\nrun now"
