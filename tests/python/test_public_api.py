"""What a Python program sees: names, types, help, and errors of settings."""

from __future__ import annotations

import ast
import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import jedi
import pytest
from pydantic import ValidationError

import gpubench
from gpubench import loaded, report
from gpubench.results.result import parse_result

PUBLIC: list[str] = vars(gpubench)["__all__"]  # the stub has the names, and not this list
README = Path(__file__).parents[2] / "README.md"
FAST: dict[str, Any] = {"model": "synthetic", "service_time": "20us", "warmup": 0, "requests": 200}

# torch would take most of the time, and a user's own code is what is checked.
MYPY_INI = "[mypy]\nstrict = True\n[mypy-torch.*]\nfollow_imports = skip\n"
MISTAKES = """\
import gpubench
gpubench.run(model="resnet50", bach=4)
gpubench.run(model="resnet50", batch="4")
gpubench.run(batch=4)
gpubench.Spec(model="resnet50", precision="fp31")
gpubench.search(model="resnet50", objective=10)
gpubench.run(model="resnet50").throughput
gpubench.load(7)
gpubench.load("results").to_panda()
gpubench.load("results").plan(100)
gpubench.report("results")
gpubench.report("results", "x.html", tittle="x")
"""
# What a program does with the results.
USES = """\
from pathlib import Path

import gpubench

result = gpubench.run(gpubench.Spec(model="resnet50", warmup="2s", instance=["g5.xlarge"]))
rate: float | None = result.throughput_per_second
loaded: gpubench.Results = gpubench.load("results", instance="g5.xlarge", only=["batch=8"])
first: gpubench.Result = loaded[0]
some: gpubench.Results = loaded[1:3]
print(loaded.to_arrow().num_rows, loaded.to_pandas().columns, loaded.keys, loaded.problems)
winner = loaded.plan("p95:100ms", instance="g5.xlarge").decisions[0].winner
if winner is not None:
    print(winner.rate_per_second)
print(gpubench.plan(["a", Path("b"), loaded], "p95:100ms").decisions)
print(gpubench.compare(loaded, [result, first]).pairs[0].p95_ms.b_over_a)
loaded.chart("cost").save("cost.svg")
gpubench.report([result], Path("page.html"), title="One cell", objective="p95:100ms")
pair = gpubench.ab({"model": "resnet50"}, gpubench.Spec(model="resnet50", batch=2))
print(pair.throughput_per_second.answer)
"""


def test_the_readmes_python_is_typed_and_mistakes_are_found(tmp_path: Path) -> None:
    """As in a user's own project: mypy --strict, and no plugin of pydantic."""
    (snippet,) = re.findall("```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "readme.py").write_text(snippet)
    (tmp_path / "uses.py").write_text(USES)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    (tmp_path / "mypy.ini").write_text(MYPY_INI)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "readme.py", "uses.py", "mistakes.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    errors = re.findall(r"^(\S+:\d+): error", done.stdout, re.MULTILINE)
    assert list(dict.fromkeys(errors)) == [f"mistakes.py:{line}" for line in range(2, 13)], (
        done.stdout
    )


def test_the_types_of_settings_are_those_of_spec() -> None:
    fields = gpubench.Spec.model_fields
    types = get_type_hints(gpubench.Settings)
    assert list(types) == list(fields)
    required = {name for name, field in fields.items() if field.is_required()}
    assert gpubench.Settings.__required_keys__ == required
    for name, field in fields.items():
        can_be_none = type(None) in getattr(types[name], "__args__", ())
        assert can_be_none == (not field.is_required() and field.default is None), name


def test_every_public_name_is_listed_and_importable() -> None:
    assert set(PUBLIC) <= set(dir(gpubench))
    assert all(getattr(gpubench, name) is not None for name in PUBLIC)
    assert not hasattr(gpubench, "no_such_name")


def test_type_checkers_and_editors_see_the_public_names() -> None:
    """Editors such as Spyder complete what the stub has, and not what __getattr__ imports."""
    stub = ast.parse(Path(gpubench.__file__).with_suffix(".pyi").read_text())
    names = [
        each.asname for node in stub.body if isinstance(node, ast.ImportFrom) for each in node.names
    ]
    assert sorted(map(str, names)) == PUBLIC
    imported = "import gpubench\ngpubench."
    assert set(PUBLIC) <= {each.name for each in jedi.Script(imported).complete()}


def test_help_shows_names_and_settings() -> None:
    script = "import gpubench; help(gpubench); help(gpubench.Spec)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert 'gpubench.run(model="resnet50", batch=4' in done.stdout
    assert "    compare(" in done.stdout
    for name, field in gpubench.Spec.model_fields.items():
        assert f"{name}: {field.description}" in done.stdout


@pytest.mark.parametrize("function", [gpubench.run, gpubench.search])
def test_signatures_in_a_notebook_name_every_setting(function: Callable[..., object]) -> None:
    parameters = signature(function).parameters
    assert set(gpubench.Spec.model_fields) < set(parameters)
    assert parameters["batch"].default == 1
    assert "settings" not in parameters
    assert " at 0x" not in str(signature(function))


def test_the_signature_of_report_is_that_of_the_function() -> None:
    called, (_, *own) = (
        signature(loaded.report),
        signature(type(report).__call__).parameters.items(),
    )
    assert dict(own) == dict(called.parameters)


def test_core_is_an_attribute() -> None:
    script = "import gpubench; print(gpubench.core.ClosedLoop.__name__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ClosedLoop\n", done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "nope"}, "--model: unknown model 'nope'; choose from bert-base"),
        ({"model": "resnet50", "batch": 0}, "--batch: '0' is not allowed; give 1 or more"),
        ({"model": "resnet50", "bacth": 2}, "unknown setting 'bacth'; did you mean batch?"),
        ({"modle": "resnet50"}, "unknown setting 'modle'; did you mean model?"),
        ({}, "--model: is missing"),
    ],
)
def test_bad_settings_raise_input_error(settings: dict[str, Any], expected: str) -> None:
    for use in (gpubench.Spec, gpubench.run):
        with pytest.raises(gpubench.InputError) as refusal:
            use(**settings)
        assert expected in str(refusal.value)
        assert "\n" not in str(refusal.value)
    with pytest.raises(gpubench.InputError) as refusal:
        gpubench.search(objective="p99:10ms", **settings)
    assert expected in str(refusal.value)


def test_pydantics_own_ways_to_a_spec_stay() -> None:
    """They do not call __init__, so that they say where in a document an error is."""
    with pytest.raises(ValidationError) as refusal:
        gpubench.Spec.model_validate({"model": "resnet50", "batch": 0})
    assert refusal.value.errors()[0]["loc"] == ("batch",)
    spec = gpubench.Spec(model="resnet50", instance=["g5.xlarge"], warmup="1s")
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
    assert gpubench.Spec.model_validate_json(spec.model_dump_json()) == spec


def test_a_result_document_with_a_bad_setting_names_it() -> None:
    document = gpubench.run(gpubench.Spec.model_validate(FAST)).to_json()
    with pytest.raises(gpubench.InputError, match=r"x\.json is not a gpubench result: spec\.batch"):
        parse_result(document.replace('"batch": 1,', '"batch": 0,', 1), "x.json")


def test_run_and_search_take_settings_directly() -> None:
    result = gpubench.run(model="synthetic", service_time="20us", warmup=0, requests=200)
    assert result.spec == gpubench.run(gpubench.Spec.model_validate(FAST)).spec
    with pytest.raises(gpubench.InputError, match=r"not both; remove batch, or the Spec"):
        gpubench.run(gpubench.Spec(model="resnet50"), batch=4)  # type: ignore[call-overload]
    found = gpubench.search(
        model="synthetic", service_time="1ms", objective="p95:1us", requests=50, warmup=0
    )
    assert found.objective.percentile == "p95"
    assert found.note is not None


def test_comparing_results_pairs_them() -> None:
    result = gpubench.run(gpubench.Spec.model_validate(FAST))
    compared = gpubench.compare([result], [result])
    assert len(compared.pairs) == 1
