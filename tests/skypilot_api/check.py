"""Checks tasks that `gpubench launch skypilot` prints with SkyPilot's own schema and names.

SkyPilot needs an environment of its own, without gpubench (0.5 GB). Nothing is started:

    python -m venv sky && sky/bin/pip install skypilot
    gpubench launch skypilot examples/quickstart.yaml --image registry/gpubench:1 \\
      --instance g5.xlarge,g2-standard-8@us-central1:spot --output s3://bucket/run > tasks.yaml
    sky/bin/python tests/skypilot_api/check.py tasks.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


def check(task: dict[str, Any]) -> str:
    """What SkyPilot makes of a task. Raises its own errors for one that it would refuse."""
    import jsonschema
    import sky
    from sky.utils import schemas
    from sky.utils.infra_utils import InfraInfo

    jsonschema.validate(task, schemas.get_task_schema())
    jsonschema.validate(task["resources"], schemas.get_resources_schema())
    place = InfraInfo.from_str(task["resources"]["infra"])
    # Without the resources, whose types of instance SkyPilot would look up in its own catalog.
    parsed = sky.Task.from_yaml_config({**task, "resources": {}})
    parsed.validate_name()
    parsed.validate_run()
    return f"{parsed.name}: {place.cloud}, {place.region or 'any region'}, run: {parsed.run!r}"


def main() -> None:
    (path,) = sys.argv[1:]
    for task in yaml.safe_load_all(Path(path).read_text()):
        print(check(task))


if __name__ == "__main__":
    main()
