"""A Spec from what a user wrote, and one line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar

from pydantic import ValidationError

from gpubench.errors import InputError
from gpubench.spec.explain import explain, located
from gpubench.spec.spec import Spec


def make_spec(
    settings: Mapping[str, Any], origin: str = "", lines: Mapping[str, str] | None = None
) -> Spec:
    """A Spec from what a user wrote.

    `origin` says where, for the message ("sweep.yaml, grid 2"), and `lines` in which line a setting
    is, where that is known. Raises InputError: one line that names the flag or key and the fix.
    """
    lines = lines or {}
    try:
        spec = Spec.model_validate(settings)
    except ValidationError as error:
        raise InputError(explain(error, Spec.model_fields, settings, origin, lines)) from None
    if "arrivals" in settings and not spec.open_loop:  # poisson, which is also the default
        problem = f"{spec.arrivals} arrivals need a rate; add --rate"
        raise InputError(located("arrivals", problem, lines.get("arrivals", origin)))
    return spec


Function = TypeVar("Function", bound=Callable[..., object])


def shows_settings(function: Function) -> Function:
    """Have `help` and notebooks show each setting that a function takes as **settings."""
    own = [
        each
        for each in signature(function).parameters.values()
        if each.kind is not Parameter.VAR_KEYWORD
    ]
    settings = [
        # A Spec may be given in place of settings, so none of them is required.
        each.replace(default=None, annotation=each.annotation | None)
        if each.default is Parameter.empty
        else each
        for each in signature(Spec).parameters.values()
    ]
    function.__signature__ = Signature([*own, *settings])  # type: ignore[attr-defined]
    return function


def names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Names as a program gives them: a list, or one text with commas between them."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)


def given_spec(spec: Spec | None, settings: Mapping[str, Any]) -> Spec:
    """What a function of the public API measures: a Spec, or the settings of one.

    Raises InputError for both and for neither, and for settings that are not valid.
    """
    if spec is None:
        return Spec(**settings)
    if settings:
        raise InputError(
            f"give a Spec or settings, not both; remove {', '.join(settings)}, or the Spec"
        )
    return spec
