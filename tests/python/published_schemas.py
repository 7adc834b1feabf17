"""Whether documents follow the schemas in docs/schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

DOCS = Path(__file__).parents[2] / "docs"


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def schema_problems(name: str, document: object) -> list[str]:
    """What is wrong with a document, one line each."""
    found = _validator(name).iter_errors(document)
    return [f"{each.json_path}: {each.message}" for each in found]
