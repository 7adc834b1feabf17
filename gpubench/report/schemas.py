"""Writes docs/schemas/ and docs/columns.md: `python -m gpubench.report.schemas docs`.

A schema is that of the model with which gpubench reads or writes the document. Its descriptions are
the docstrings and the comments beside the fields.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from textwrap import dedent, fill
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from gpubench.report import columns, documents
from gpubench.results import cold_result, function_calls, result, search_result
from gpubench.spec.spec import Spec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, tuple[str, Any]] = {
    "result": ("What `gpubench run --json` writes, and a cell in a run directory", result.Result),
    "search": ("What `gpubench search --json` writes", search_result.SearchResult),
    "cold": ("What `gpubench cold --json` writes", cold_result.ColdResult),
    "plan": ("What `gpubench plan --json` writes", documents.PlanDocument),
    "compare": (
        "What `gpubench compare --format json` and `gpubench ab --json` write",
        documents.CompareDocument | documents.CompareByDocument,
    ),
}


class _WithoutTitles(GenerateJsonSchema):
    """A title would only repeat the name of its field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of one of `DOCUMENTS`.

    Keys that a document may have and need not have, because earlier versions did not write them,
    are not required, and unknown keys are allowed.
    """
    title, kind = DOCUMENTS[name]
    made = TypeAdapter(kind).json_schema(schema_generator=_WithoutTitles)
    parts = made.get("$defs", {})
    for part, described in [*parts.items(), (getattr(kind, "__name__", ""), made)]:
        found = _classes().get(part)
        if found is not None:
            _describe(described, found)
    return {"$schema": _DIALECT, **made, "title": title}


def _classes() -> dict[str, type]:
    modules = (result, search_result, cold_result, function_calls, documents)
    return {
        name: found
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, type)
    }


def _describe(described: dict[str, Any], kind: type) -> None:
    """Add the descriptions of the fields. `Spec` has its own, and repeats them in its docstring."""
    if kind is Spec:
        described["description"] = described["description"].partition("\n")[0]
        return
    if "description" in described:
        described["description"] = _in_json(described["description"])
    comments = dict(_comments(kind))
    for name, field in described.get("properties", {}).items():
        if name == "schema":
            field["description"] = "Number of the format; a key is renamed only with a new number"
        elif name in comments:
            field["description"] = comments[name]


def _comments(kind: type) -> Iterator[tuple[str, str]]:
    """(field, the comment beside it or above it), of a class and those that it inherits from."""
    for each in reversed(kind.__mro__):
        if each.__module__.partition(".")[0] == "gpubench":
            yield from _own_comments(dedent(inspect.getsource(each)))
    for each in getattr(kind, "__orig_bases__", ()):  # a TypedDict keeps its bases there
        yield from _comments(each) if isinstance(each, type) else ()


def _own_comments(source: str) -> Iterator[tuple[str, str]]:
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for field in definition.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            first = field.lineno
            while comments.get(first - 1, ("", False))[1]:
                first -= 1
            lines = range(first, (field.end_lineno or first) + 1)
            text = " ".join(comments[line][0] for line in lines if line in comments)
            if text:
                yield field.target.id.rstrip("_"), _in_json(text)


def _in_json(text: str) -> str:
    for python, name in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", name, text)
    return text


_INTRODUCTION = """
An absent figure is an empty field in CSV, and null in Arrow, Parquet and JSON. It is never 0.
Shares are numbers from 0 to 1. CSV escapes texts that a spreadsheet would take for a formula.
Parquet and Arrow have them as they are.
"""
_AFTER_DOCUMENTS = """
`gpubench report --format json` writes a list of results. Those of searches and cold starts are at
its end. Keys may be added in any version. A key is renamed or removed only with a new number in
`schema`. Keys that earlier versions did not write are not required.
"""
_HOW_MADE = """
This page and the schemas are made from the code: `python -m gpubench.report.schemas docs`.
"""
_SECTIONS = (
    (
        "Cells",
        """
        `gpubench report --output x.csv` and `x.parquet`, and `to_arrow()` and `to_pandas()` of
        [`gpubench.load`](python.md), have one row for each cell and price. A cell without a price
        has one row. `--each-repeat` gives one row for each repeat and price.
        """,
        (*columns.CELL, *columns.NAMED),
    ),
    (
        "Samples",
        """
        The sample file of a cell (`KEY.parquet` in a run directory, and `--samples`) has one row
        for each request. Times are nanoseconds of one monotonic clock.
        [measurement.md](measurement.md) says how figures are made of them.
        """,
        columns.SAMPLES,
    ),
    (
        "Comparisons",
        """
        `gpubench compare --format csv` has one row for each side of a pair: these columns, and
        after them those of [cells](#cells).
        """,
        columns.COMPARED,
    ),
    (
        "Plans",
        """
        `gpubench plan --format csv` has one row for each candidate: these columns, and after them
        those of the [cell](#cells) from which the rate comes.
        """,
        columns.PLANNED,
    ),
)


def columns_page() -> str:
    """docs/columns.md."""
    listed = "".join(
        f"| {title} | [schemas/{name}.json](schemas/{name}.json) |\n"
        for name, (title, _) in DOCUMENTS.items()
    )
    parts = [
        "# Columns and JSON documents\n",
        _paragraph(_INTRODUCTION),
        f"| document | JSON schema |\n|---|---|\n{listed}",
        _paragraph(_AFTER_DOCUMENTS),
        _paragraph(_HOW_MADE),
    ]
    for title, text, infos in _SECTIONS:
        rows = "".join(f"| `{i.name}` | {i.kind} | {i.meaning} |\n" for i in infos)
        table = f"| column | type | meaning |\n|---|---|---|\n{rows}"
        parts += [f"## {title}\n", _paragraph(text), table]
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    return fill(" ".join(text.split()), 108, break_long_words=False, break_on_hyphens=False) + "\n"


def _property_a_line(part: Any, name: str = "", margin: str = "") -> str:
    """The schema as JSON in which a property is a line, so that a changed one is a changed line."""
    has_lines = isinstance(part, dict) and (name in {"$defs", "properties"} or "properties" in part)
    if not (has_lines or name == ""):
        return json.dumps(part, ensure_ascii=False)
    lines = (
        f"{margin} {json.dumps(key)}: {_property_a_line(value, key, margin + ' ')}"
        for key, value in part.items()
    )
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


def files() -> dict[str, str]:
    """The files below docs/, by name."""
    made = {f"schemas/{name}.json": _property_a_line(schema(name)) + "\n" for name in DOCUMENTS}
    return {**made, "columns.md": columns_page()}


def main(arguments: Sequence[str]) -> None:
    for name, text in files().items():
        path = Path(arguments[0]) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
