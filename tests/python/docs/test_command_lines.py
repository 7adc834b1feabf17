"""Every command line in the pages and the examples uses commands and flags that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gpubench.cli.program import COMMANDS, program

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
KINDS = {".Dockerfile", ".md", ".py", ".sh", ".tf", ".yaml", ".yml"}
FILES = sorted(
    file
    for place in (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "tests/containers")
    for file in (place.glob("*.md") if place == ROOT else place.rglob("*"))
    if file.suffix in KINDS and file.name != "CHANGELOG.md"
)
# "gpubench", or an image of this name with a tag, then a command. What ends a command line: the end
# of its code or of the line, a pipe, a remark, another command.
LINE = re.compile(
    r"(?<![\w./@-])gpubench(?::[\w.-]+)? +(?P<command>" + "|".join(COMMANDS) + r")\b"
    r"(?P<rest>(?:\\\n|[^\n`|#;&\"])*)"
)
# A command line as a list, as in files for Kubernetes and Terraform.
LIST = re.compile(r"\[\s*[\"']?gpubench[\"']?,([^]]*)\]")
FLAG = re.compile(r"(?<!\S)--[a-z][a-z0-9-]*")


def command_lines(text: str) -> Iterator[tuple[str, list[str], set[str]]]:
    """(command, the words after it, its flags)."""
    lists = (re.sub("[\"',\\s]+", " ", found) for found in LIST.findall(text))
    for found in LINE.finditer("\n".join([text, *(f"gpubench{words}" for words in lists)])):
        rest = found["rest"].replace("\\\n", " ")
        yield found["command"], rest.split(), set(FLAG.findall(rest))


def known_flags(command: str, words: list[str]) -> set[str]:
    """The flags of a command. If it has commands of its own: of the one that the next word names.

    If that word stands for any of them (`launch SERVICE`), the flags of all.
    """
    context = click.Context(program)
    found = program.get_command(context, command)
    assert found is not None
    commands = [found]
    if isinstance(found, click.Group):
        names = found.list_commands(context)
        named = [words[0]] if words and words[0] in names else names
        commands += filter(None, (found.get_command(context, name) for name in named))
    options = [each for one in commands for each in one.params if isinstance(each, click.Option)]
    return {flag for each in options for flag in (*each.opts, *each.secondary_opts)} | {"--help"}


def unknown(text: str) -> list[str]:
    """The flags that do not exist, each with its command."""
    return [
        f"{command} {flag}"
        for command, words, flags in command_lines(text)
        for flag in sorted(flags - known_flags(command, words))
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_flag_of_a_command_line_exists(file: Path) -> None:
    assert unknown(file.read_text()) == []


def test_the_pages_and_examples_have_command_lines() -> None:
    assert sum(len(list(command_lines(file.read_text()))) for file in FILES) > 100


def test_a_flag_that_does_not_exist_is_found() -> None:
    assert unknown("    gpubench sweep x.yaml \\\n      --outptu x | grep --color") == [
        "sweep --outptu"
    ]
    assert unknown("docker run --rm gpubench:cpu run --modle x") == ["run --modle"]
    assert unknown("`gpubench prices list --from x`, then `--other`") == ["prices --from"]
    assert unknown("gpubench prices COMMAND --provider aws --owned") == ["prices --owned"]
    assert unknown('command = [\n"gpubench", "sweep", "x.yaml", "--out=x"]') == ["sweep --out"]
    assert unknown("gpubench doctor --gpu; gpubench run --model x # --not") == []
