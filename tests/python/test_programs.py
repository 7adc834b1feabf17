"""A test whose program is absent is skipped, or fails where all programs must be there."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.outcomes import Failed, Skipped
from programs import program


def test_the_path_of_a_program_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "promtool").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("promtool", "prometheus") == str(tmp_path / "promtool")


def test_an_absent_program_skips_the_test_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GPUBENCH_REQUIRE_PROGRAMS", raising=False)
    with pytest.raises(Skipped, match=r"promtool is not installed .*apt install prometheus"):
        program("promtool", "prometheus")


def test_an_absent_program_fails_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GPUBENCH_REQUIRE_PROGRAMS", "1")
    with pytest.raises(Failed, match="apt install prometheus"):
        program("promtool", "prometheus")
