"""A Spec from what a user wrote, and one line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gpubench.errors import InputError, nearest
from gpubench.spec.spec import Spec


def make_spec(
    settings: dict[str, Any], origin: str = "", lines: Mapping[str, str] | None = None
) -> Spec:
    """A Spec from what a user wrote.

    `origin` says where, for the message ("sweep.yaml, grid 2"), and `lines` in which line a setting
    is, where that is known. Raises InputError: one line that names the flag or key and the fix.
    """
    lines = lines or {}
    try:
        spec = Spec(**settings)
    except ValidationError as error:
        raise InputError(_explain(error, settings, origin, lines)) from None
    if "arrivals" in settings and not spec.open_loop:  # poisson, which is also the default
        problem = f"{spec.arrivals} arrivals need a rate; add --rate"
        raise InputError(_located("arrivals", problem, lines.get("arrivals", origin)))
    return spec


def _explain(
    error: ValidationError, settings: dict[str, Any], origin: str, lines: Mapping[str, str]
) -> str:
    first = error.errors()[0]
    context = first.get("ctx", {})
    name = str(context.get("field") or (first["loc"][0] if first["loc"] else "settings"))
    origin = lines.get(name, origin)
    if first["type"] == "extra_forbidden":
        problem = f"unknown setting '{name}'; {nearest(name, Spec.model_fields)}"
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
        allowed = _allowed(name)
        problem = f"'{first['input']}' is not known; {nearest(str(first['input']), allowed)}"
    else:
        problem = f"'{first['input']}' is not allowed; {_remedy(first)}"
    return _located(name, problem, origin)


def _located(name: str, problem: str, origin: str) -> str:
    if origin:
        return f"{origin}: {name}: {problem}"
    return f"--{name.replace('_', '-')}: {problem}"


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


def _allowed(name: str) -> tuple[str, ...]:
    annotation = Spec.model_fields[name].annotation
    choices = get_args(annotation)
    nested = [choice for part in choices for choice in get_args(part)]
    return tuple(str(choice) for choice in (nested or choices))
