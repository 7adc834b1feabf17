"""What a shell completes: known values of flags and arguments, files and folders.

click makes the scripts for bash, zsh and fish (docs/cli.md says how to load them). They run
`gpubench` for each completion, so nothing here may import torch or NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

if TYPE_CHECKING:
    from gpubench.pricing import Catalog


class Known(StringParamType):
    """Text, or a comma-separated list, of which some values are known.

    It accepts every value: the command checks it, and says what is wrong in its own words.
    """

    def __init__(
        self, values: Iterable[str] | Callable[[], Iterable[str]] = (), files: bool = False
    ) -> None:
        self._values = values
        self._files = files  # where no value fits, file names are completed

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        values = self._values() if callable(self._values) else self._values
        before, comma, last = incomplete.rpartition(",")
        fitting = [value for value in values if value.startswith(last)]
        if not fitting and self._files:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(before + comma + value) for value in fitting]


class FolderParam(StringParamType):
    """A folder, or a URL."""

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


def instances() -> Iterable[str]:
    return dict.fromkeys(instance.name for instance in _catalog().instances)


def providers() -> Iterable[str]:
    return dict.fromkeys(instance.provider for instance in _catalog().instances)


def regions() -> Iterable[str]:
    return dict.fromkeys(instance.region for instance in _catalog().instances)


def accelerators() -> Iterable[str]:
    return sorted(_catalog().accelerators())


def _catalog() -> Catalog:
    from gpubench.errors import InputError
    from gpubench.pricing import bundled_catalog, current_catalog

    try:
        return current_catalog()
    except InputError:  # a file of prices is wrong, which the command itself says
        return bundled_catalog()


def cache_kinds() -> Iterable[str]:
    from gpubench import cache

    return {entry.kind for entry in cache.entries()}
