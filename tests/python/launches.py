"""Launches for the tests of services, and programs that stand in for kubectl, sbatch and sky."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gpubench.launch.manifest import Manifest
from gpubench.launch.services.service import Launch, MachineFleet

G5 = MachineFleet(
    "g5.xlarge", machines=3, jobs=7, gpus=1, vcpus=4, memory_gib=16.0, provider="aws"
)  # fmt: skip
C7 = MachineFleet("c7i.2xlarge", machines=1, jobs=2, vcpus=8, memory_gib=16.0, provider="aws")

# What a shell, YAML or Kubernetes might take for something else.
HOSTILE_URL = "s3://bucket/$(touch x)/`id`/\"'; # $HOME: {a} & |"


def launch(*fleets: MachineFleet, url: str = "s3://bucket/run", name: str = "study") -> Launch:
    manifest = Manifest(
        schema_number=1,
        name=name,
        created="2026-11-01T00:00:00+00:00",
        gpubench="0.1.0",
        jobs=(),
    )
    return Launch(manifest, url, fleets or (G5,))


class FakeProgram:
    """A program on PATH that keeps what it was given, and answers as it is told."""

    def __init__(self, folder: Path, name: str, stdout: str, stderr: str, status: int) -> None:
        self._folder = folder / f"{name}-calls"
        self._folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys\n"
            f"folder = pathlib.Path({str(self._folder)!r})\n"
            "number = len(list(folder.iterdir()))\n"
            "text = sys.stdin.read()\n"
            "files = [open(a).read() for a in sys.argv[1:] if os.path.isfile(a)]\n"
            "call = {'arguments': sys.argv[1:], 'stdin': text, 'files': files}\n"
            "(folder / f'{number:03}').write_text(json.dumps(call))\n"
            f"sys.stdout.write({stdout!r})\n"
            f"sys.stderr.write({stderr!r})\n"
            f"sys.exit({status})\n"
        )
        program.chmod(0o755)

    def calls(self) -> list[dict[str, list[str] | str]]:
        return [json.loads(file.read_text()) for file in sorted(self._folder.iterdir())]


def fake_program(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    stdout: str = "",
    stderr: str = "",
    status: int = 0,
) -> FakeProgram:
    """Only this program is on PATH afterwards."""
    monkeypatch.setenv("PATH", str(folder))
    return FakeProgram(folder, name, stdout, stderr, status)
