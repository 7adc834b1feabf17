"""Results as one JSON document: a list, each entry as `gpubench run --json -` prints it.

Cold starts are entries of the same list, with "kind": "cold", as `gpubench cold --json -` prints
them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from gpubench.report.escape import json_text
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result


def text(results: Iterable[Result | ColdResult]) -> str:
    entries = [textwrap.indent(json_text(result.to_json()), "  ") for result in results]
    return "[\n" + ",\n".join(entries) + "\n]\n"
