"""What comes out on standard output and standard error, whatever models and libraries print."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from gpubench.cli.program import main
from gpubench.errors import MOST_CHARACTERS, shorten
from gpubench.measure import cell

GPUBENCH = Path(sysconfig.get_path("scripts")) / "gpubench"

# It prints from C and from Python, at once and from buffers that are written at the process's end,
# itself and through a child.
PRINTING = """
import atexit
import ctypes
import os
import sys

import torch

c = ctypes.CDLL(None)
print("noise of an import")

class Printing(torch.nn.Module):
    def forward(self, x):
        c.printf(b"noise from C's buffer\\n")
        os.write(1, b"noise on descriptor 1\\n")
        print("noise of a print")
        sys.__stdout__.write("noise on Python's first stdout\\n")
        return x + 1

def make():
    os.system("echo noise of a child")
    atexit.register(print, "noise at exit")
    return Printing(), torch.zeros(4, 4)
"""


def gpubench(*arguments: str, cwd: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(GPUBENCH), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cache), "GPUBENCH_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def test_the_document_is_alone_on_stdout_whatever_a_model_prints(tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)
    asked = ["run", "--model", "printing.py:make", "--runtime", "eager", "--quiet", "--json", "-"]
    done = gpubench(*asked, "--requests", "3", "--warmup", "0", cwd=tmp_path, cache=tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error"] is None
    noises = {line for line in done.stderr.splitlines() if line.startswith("noise")}
    assert noises == {
        "noise of an import",
        "noise from C's buffer",
        "noise on descriptor 1",
        "noise of a print",
        "noise on Python's first stdout",
        "noise of a child",
        "noise at exit",
    }


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Hugging Face's library writes it."""
    import transformers

    folder = tmp_path_factory.mktemp("models")
    configuration = transformers.BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    transformers.BertForSequenceClassification(configuration).save_pretrained(folder / "text")
    return folder


@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "not quiet"])
def test_libraries_remark_on_nothing(quiet: bool, text_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    asked = ["run", "--model", "text/", "--weights", "pretrained", "--runtime", "onnxruntime"]
    asked += ["--seq-len", "8", "--requests", "3", "--warmup", "0", "--json", "-"]
    done = gpubench(*asked, *["--quiet"] * quiet, cwd=text_model, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    stages = [f"text/: {stage}" for stage in ("load", "build", "check", "measure")]
    assert done.stderr.splitlines() == ([] if quiet else stages)


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    assert shorten("short") == "short"
    cut = shorten("the model " + "x" * 90_000 + " has no kernel")
    assert len(cut) <= MOST_CHARACTERS
    assert cut.startswith("the model xxx")
    assert cut.endswith("xxx has no kernel")
    assert " [...] " in cut


def test_a_line_of_error_is_short_wherever_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--model", "resnet50", "--precision", "x" * 90_000]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < MOST_CHARACTERS + 20

    def fail(spec: object) -> None:
        raise RuntimeError("y" * 90_000 + " because of z")

    monkeypatch.setattr(cell, "synthetic_executors", fail)
    assert main(["run", "--model", "synthetic", "--json", "-"]) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert len(message) <= MOST_CHARACTERS + 20
    assert message.endswith(" because of z")
