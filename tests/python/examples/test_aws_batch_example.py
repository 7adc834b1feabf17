"""The Terraform module of examples/aws_batch: it can be parsed, and is what gpubench expects.

Terraform itself cannot be had here. So nothing shows that AWS accepts it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2

from gpubench.cli.launch_aws_batch import command

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
MODULE = ROOT / "examples" / "aws_batch"
FILES = {path.name: path for path in MODULE.glob("*.tf")}


def blocks(kind: str) -> list[Any]:
    parsed = []
    for path in FILES.values():
        with path.open() as file:
            parsed += hcl2.load(file).get(kind, [])
    return parsed


def test_it_has_the_parts_that_a_launch_needs() -> None:
    kinds = {kind.strip('"') for block in blocks("resource") for kind in block}
    assert {
        "aws_s3_bucket",
        "aws_s3_bucket_public_access_block",
        "aws_batch_compute_environment",
        "aws_batch_job_queue",
        "aws_batch_job_definition",
        "aws_iam_role",
    } <= kinds


def test_every_name_that_is_used_is_declared() -> None:
    text = "\n".join(path.read_text() for path in FILES.values())
    variables = {name.strip('"') for block in blocks("variable") for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    declared = {
        (kind.strip('"'), name.strip('"'))
        for block in blocks("resource")
        for kind, names in block.items()
        for name in names
    }
    code = re.sub(r'"(?!\$)[^"$]*"', "", text)  # without plain texts, such as names of roles
    used = set(re.findall(r"\b(aws_\w+)\.(\w+)", re.sub(r"data\.aws_\w+\.\w+", "", code)))
    assert used <= declared


def test_the_rights_name_no_more_than_is_needed() -> None:
    text = FILES["roles.tf"].read_text()
    actions = set(re.findall(r'"((?:s3|batch|iam|ec2|ecs|logs|sts):\w*\*?)"', text))
    assert actions == {
        "batch:SubmitJob",
        "batch:TagResource",
        "batch:TerminateJob",
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "sts:AssumeRole",
    }


def test_the_readme_uses_flags_that_exist() -> None:
    flags = {flag for parameter in command.params for flag in parameter.opts}
    for text in (MODULE / "README.md", ROOT / "docs" / "launching.md"):
        for block in re.findall(r"gpubench launch aws-batch.*?\n\n", text.read_text(), re.DOTALL):
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", block)) - {"--machines"} <= flags
    outputs = {name.strip('"') for block in blocks("output") for name in block}
    used = re.findall(r"terraform output -raw (\w+)", (MODULE / "README.md").read_text())
    assert set(used) <= outputs
