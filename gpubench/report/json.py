"""Results as one JSON document: a list, each entry as `gpubench run --json -` prints it.

Searches, which have the key "probes", and cold starts, with "kind": "cold", are entries of the same
list, as `gpubench search` and `gpubench cold` print them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from gpubench.report.escape import json_text
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult


def text(results: Iterable[Result | SearchResult | ColdResult]) -> str:
    entries = [textwrap.indent(json_text(result.to_json()), "  ") for result in results]
    return "[\n" + ",\n".join(entries) + "\n]\n"
