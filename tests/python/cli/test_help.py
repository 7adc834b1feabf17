"""Help, completion by shells, and what a mistyped command line says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gpubench.cli import program as cli
from gpubench.cli.build import NAMED_GPUS
from gpubench.cli.settings import SECTIONS
from gpubench.engines.refusals import compute_capability
from gpubench.registry import RUNTIMES
from gpubench.spec.explain import choices
from gpubench.spec.spec import Spec

SCRIPTS = sysconfig.get_path("scripts")


def commands(
    group: click.Group = cli.program, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, those of groups included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
LEAVES = [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)]


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main([*words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_every_command_has_help_of_80_columns(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(capsys, *path, "--help")
    assert shown == help_of(capsys, *path, "-h")
    assert shown.startswith("Usage: gpubench")
    assert "-h, --help" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_an_example_that_its_flags_allow(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(capsys, *path, "-h")
    (example,) = re.findall(r"^  Example:\n    (.+?)\n\n", shown, re.MULTILINE | re.DOTALL)
    assert " ".join(("gpubench", *path)) in example
    for flag in re.findall(r" (--[a-z-]+)", example):
        assert re.search(rf"^  {flag}\b", shown, re.MULTILINE), flag


def test_every_setting_is_in_one_section() -> None:
    names = [name for section in SECTIONS.values() for name in section]
    assert sorted(names) == sorted(Spec.model_fields)


@pytest.mark.parametrize("command", ["run", "sweep", "search"])
def test_settings_stand_in_sections_with_choices_and_defaults(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(capsys, command, "--help")
    for title, names in SECTIONS.items():
        section = shown.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        for name in names:
            assert f"  --{name.replace('_', '-')}" in section
    text = " ".join(shown.split())
    for name, field in Spec.model_fields.items():
        flag = "--" + name.replace("_", "-")
        if allowed := choices(field):
            assert f"{flag} [{'|'.join(allowed)}]" in text
    for default in ("torchscript", "fp32", "1", "number of workers", "poisson", "0", "2s", "1ms"):
        assert f"[default: {default}]" in text
    assert ", ".join(RUNTIMES) in text


def test_the_gpus_that_build_names_are_known() -> None:
    for name in NAMED_GPUS:
        assert compute_capability(name)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from gpubench.cli.program import main\n"
        "for command in ('run', 'sweep', 'search', 'cold', 'build'):\n"
        "    assert main([command, '-h']) == 0\n"
        "sys.exit(int('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--model", "nope", "--batch", "0", "-h"],
        ["search", "--tolerance", "much", "-h"],
        ["sweep", "file.yaml", "--max-cells", "0", "-h"],
        ["report", "/no/such/run", "-h"],
        ["prices", "list", "--provider", "nobody", "-h"],
        ["cache", "clear", "-h"],
    ],
)
def test_help_after_other_flags_is_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert help_of(capsys, *arguments).startswith("Usage: gpubench")


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
@pytest.mark.parametrize("more", [["--no-such-flag"], ["too", "many", "words"]], ids=" ".join)
def test_what_a_command_does_not_know_is_one_line(
    path: tuple[str, ...], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*path, *more]) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    if path == ("report",) and len(more) > 1:  # it takes any number of directories
        assert "too is not a directory" in line
        return
    if len(more) == 1:
        assert "unknown flag --no-such-flag" in line
    else:  # a flag that is required is missed first
        assert re.search("unexpected extra argument|Missing option", line)
    assert f"gpubench {' '.join(path)} --help" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "--model: is missing"),
        (["search"], "Missing option '--objective'; see gpubench search --help"),
        (["sweep"], "Missing option '--output'; see gpubench sweep --help"),
        (["report"], "Missing argument 'DIR...'; see gpubench report --help"),
        (["compare"], "Missing argument 'A'; see gpubench compare --help"),
        (["build"], "Missing option '--gpu'; see gpubench build --help"),
        (["prices", "show"], "Missing argument 'NAME'; see gpubench prices show --help"),
        (["paths"], "give either --cmake or --include"),
        (["paths", "--cmake", "--include"], "--cmake and --include are mutually exclusive"),
        (["rnu"], "unknown command 'rnu'; did you mean run? The choices are ab, build,"),
        (
            ["prices", "lst"],
            "unknown command 'lst'; did you mean list? The choices are list, refresh, show",
        ),
        (["run", "--batch"], "Option '--batch' requires an argument; see gpubench run --help"),
        (["run", "--model", "x", "--quiet=yes"], "see gpubench run --help"),
        (["report", "x", "--format", "pdf"], "'terminal', 'markdown', 'html', 'csv', 'json'"),
        (["sweep", "--output", "x", "--max-cells", "few"], "'few' is not a valid integer"),
        (["run", "--model", "resnet50", "--wait", "spn"], "The choices are block, spin, yield"),
        (["prices", "list", "--provider", "asw"], "did you mean aws? The choices are aws, azure"),
        (
            ["run", "--model", "resnet50", "--rate", "5", "--clients", "2"],
            "--clients: it sets a closed loop and --rate an open loop",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_one_line_that_names_the_fix(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert expected in line


def gpubench(**environment: str) -> str:
    """What the installed command prints where a shell asks it for completions."""
    done = subprocess.run(
        [f"{SCRIPTS}/gpubench"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_valid(shell: str) -> None:
    script = gpubench(_GPUBENCH_COMPLETE=f"{shell}_source")
    assert f"_GPUBENCH_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed, so its script was made and not checked")
    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


def completed(shell: str, line: str) -> set[str]:
    """The values that a shell proposes where the cursor stands at the end of a line."""
    words = line.split(" ")
    # bash and zsh pass the number of the word, fish the word itself.
    current = words[-1] if shell == "fish" else str(len(words) - 1)
    printed = gpubench(
        _GPUBENCH_COMPLETE=f"{shell}_complete", COMP_WORDS=line, COMP_CWORD=current
    ).splitlines()
    match shell:
        case "bash":  # type,value
            return {line.partition(",")[2] for line in printed}
        case "zsh":  # three lines each: type, value, help
            return set(printed[1::3])
        case _:  # newer versions of click print the type, value and help in lines of their own
            return {line.partition("\t")[0].partition(",")[2] or line for line in printed}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gpubench r", {"run", "report"}),
        ("gpubench prices ", {"list", "show"}),
        ("gpubench run --mod", {"--model"}),
        ("gpubench run --model bert", {"bert-base", "bert-large"}),
        ("gpubench run --runtime tensorrt", {"tensorrt", "tensorrt-rtx"}),
        ("gpubench run --precision fp", {"fp32", "fp16", "fp8", "fp64"}),
        ("gpubench run --device ", {"auto", "cpu", "tpu", "neuron", "igpu", "npu"}),
        ("gpubench run --memory-format ch", {"channels_last"}),
        ("gpubench sweep --wait s", {"spin"}),
        ("gpubench search --inputs d", {"device"}),
        ("gpubench build --gpu A10", {"A10", "A10G", "A100"}),
        ("gpubench report x --format h", {"html"}),
        ("gpubench prices show g5.xl", {"g5.xlarge"}),
        ("gpubench train --runtime c", {"compile"}),
        ("gpubench no-such-command --mod", set()),
    ],
)
def test_commands_flags_and_choices_are_completed(
    shell: str, line: str, expected: set[str]
) -> None:
    found = completed(shell, line)
    assert expected <= found
    assert not {"compare", "--seed"} & found


def test_a_list_and_a_file_name_are_completed_in_bash() -> None:
    assert "eager,torchscript" in completed("bash", "gpubench sweep --runtime eager,torch")
    environment = {"_GPUBENCH_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    assert gpubench(COMP_WORDS="gpubench run --model models/n", **environment) == (
        "file,models/n\n"
    )
    environment["COMP_CWORD"] = "2"
    assert gpubench(COMP_WORDS="gpubench report res", **environment) == "dir,res\n"


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The script as a user loads it, and the function that bash calls at a press of Tab."""
    script = f"""
        PATH={SCRIPTS}:$PATH
        eval "$(_GPUBENCH_COMPLETE=bash_source gpubench)"
        COMP_WORDS=(gpubench run --model re) COMP_CWORD=3
        _gpubench_completion gpubench
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("resnet50\n", "")


def test_help_of_training_has_its_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(help_of(capsys, "train", "--help").split())
    assert "--precision [fp32|tf32|amp|bf16] " in shown
    assert "--runtime [eager|compile] " in shown
    assert "--accumulate N Batches whose gradients are added up in each step. [default: 1]" in shown
    assert "Only for training" not in shown
