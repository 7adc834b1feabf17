"""One line that says what is wrong with a setting, from the errors that pydantic raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gpubench.errors import nearest


def explain(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    settings: Mapping[str, Any],
    origin: str = "",
    lines: Mapping[str, str] | None = None,
) -> str:
    """The first problem with `settings` and its fix. `fields` are the fields of Spec.

    A name that is not known comes before the others: if `model` is misspelt, it is also missing.

    `origin` and `lines` say where the settings were written, as for `parse.make_spec`.
    """
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    context = first.get("ctx", {})
    name = str(context.get("field") or (first["loc"][0] if first["loc"] else "settings"))
    origin = (lines or {}).get(name, origin)
    if first["type"] == "extra_forbidden":
        problem = f"unknown setting '{name}'; {nearest(name, fields)}"
        return f"{origin}: {problem}" if origin else problem
    value = settings.get(name)
    if origin and isinstance(value, str) and "," in value:
        parts = ", ".join(part.strip() for part in value.split(","))
        problem = f"'{value}' is not allowed; a list is written [{parts}]"
    elif first["type"] == "missing":
        problem = "is missing; say what to run"
    elif first["type"] in {"refused", "duration"}:
        problem = first["msg"]
    elif first["type"] == "literal_error":
        hint = nearest(str(first["input"]), choices(fields[name]))
        problem = f"'{first['input']}' is not known; {hint}"
    else:
        problem = f"'{first['input']}' is not allowed; {_remedy(first)}"
    return located(name, problem, origin)


def located(name: str, problem: str, origin: str) -> str:
    """A problem with the place of its setting: a file and a key, or a flag."""
    if origin:
        return f"{origin}: {name}: {problem}"
    return f"--{name.replace('_', '-')}: {problem}"


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values that a field of type Literal accepts; empty for other fields."""
    parts = get_args(field.annotation)
    if float in parts:  # a number, or a word in its place
        return ()
    nested = [choice for part in parts for choice in get_args(part)]
    return tuple(choice for choice in (nested or parts) if isinstance(choice, str))


def _remedy(problem: ErrorDetails) -> str:
    """What to write instead, for the checks that pydantic makes."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "number":
            return problem["msg"]
        case "int_parsing" | "int_type" | "int_from_float":
            return "give a whole number, like 8"
        case "float_parsing" | "float_type" | "finite_number":
            return "give a number, like 1.5"
        case "string_type":
            return "give a name"
        case "tuple_type":
            return "give a name, or a list of names"
        case "greater_than_equal":
            return f"give {_plainly(limits['ge'])} or more"
        case "less_than_equal":
            return f"give {_plainly(limits['le'])} or less"
        case "less_than":
            return f"give less than {_plainly(limits['lt'])}"
        case _:
            return problem["msg"][:1].lower() + problem["msg"][1:]


def _plainly(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)
