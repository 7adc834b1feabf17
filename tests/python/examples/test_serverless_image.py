"""The image of the serverless example: its Dockerfile, and the settings in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gpubench.spec.parse import make_spec

FOLDER = Path(__file__).parents[3] / "examples" / "serverless"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    hadolint = shutil.which("hadolint", path=places)
    assert hadolint, "it comes with the extra `test`"
    found = subprocess.run([hadolint, FOLDER / "lambda.Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_its_settings_are_a_spec() -> None:
    assert make_spec(json.loads((FOLDER / "function.json").read_text())).model == "resnet50"
