"""The files for a cluster: valid, and they give no more rights than are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples" / "kubernetes"
DOCUMENTS = [
    document
    for path in sorted(EXAMPLES.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each["kind"]))
def test_the_files_are_valid_for_the_api_of_kubernetes(document: dict[str, Any]) -> None:
    for version in ("1.29", "1.37"):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_launcher_may_create_and_delete_jobs_of_one_namespace_only() -> None:
    (role,) = (each for each in DOCUMENTS if each["kind"] not in {"Namespace", "ServiceAccount"})
    assert role["kind"] == "Role"
    assert role["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete"]}
    ]
