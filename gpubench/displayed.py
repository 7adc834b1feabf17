"""What a person sees of an object: a table, in a notebook and when it is printed."""

from __future__ import annotations

from importlib import import_module


class Displayed:
    """An object that reports show as tables.

    Reports stand above results and plans and import them. So they are imported by name, when
    somebody looks at such an object.
    """

    def _repr_html_(self) -> str:
        """What Jupyter shows. All texts in it are escaped."""
        text: str = import_module("gpubench.report.displayed").html(self)
        return text

    def __str__(self) -> str:
        text: str = import_module("gpubench.report.displayed").text(self)
        return text
