"""A comparison in Markdown, for example for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from gpubench.planning.compare import Comparison
from gpubench.planning.gates import GateResult
from gpubench.report import escape, markdown
from gpubench.report.comparison import wide_table
from gpubench.report.comparison_sentences import gate_change, gate_headline, headline
from gpubench.report.table import Column, DraftCell, Table, make_table

_OUTCOME = {
    "failed": "failed",
    "passed": "passed",
    "uncertain": "not certain",
    "untested": "not tested",
}


def summary(
    comparisons: Sequence[tuple[Comparison, str, str]], gates: Sequence[GateResult] = ()
) -> str:
    """The answer in a sentence, the gates, and the tables. Each comparison has its two names."""
    lines = [headline(*each) for each in comparisons]
    if gates:
        lines.append(f"{_capital(gate_headline(gates))}.")
    blocks = [f"**{escape.markdown(line)}**\n" for line in lines]
    if gates:
        blocks.append(markdown.text([_gate_table(gates)]))
    blocks += [markdown.text([wide_table(*each)]) for each in comparisons]
    return "\n".join(blocks)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gate_table(gates: Sequence[GateResult]) -> Table:
    columns = [Column(title, "left") for title in ("gate", "cell", "B against A", "result")]
    rows = [
        [
            DraftCell(each.gate.text),
            DraftCell(each.pair.b.spec.describe()),
            DraftCell(gate_change(each)),
            DraftCell(
                _OUTCOME[each.outcome], (each.why_untested,) if each.outcome == "untested" else ()
            ),
        ]
        for each in gates
    ]
    return make_table(columns, rows)
