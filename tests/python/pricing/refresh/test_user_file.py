"""The user's own price file: what a refresh replaces and what it leaves."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from gpubench.errors import GpubenchError, InputError
from gpubench.pricing import bundled_catalog
from gpubench.pricing.catalog import read_catalog
from gpubench.pricing.refresh import user_file

G5 = replace(
    bundled_catalog().find("g5.xlarge"),
    as_of="2026-11-27",
    spot_usd_per_hour=0.4,
    spot_low_usd_per_hour=0.35,
    spot_high_usd_per_hour=0.5,
    spot_zone="use1-az4",
    spot_as_of="2026-11-27",
    one_year_usd_per_hour=0.63,
    commitment="reserved instance",
    sku_ids="A B",
)


def written(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def merge(path: Path, *instances: object, keep_spot: tuple[str, ...] = ()) -> None:
    file = user_file.read(path)
    file.merge([each for each in instances if isinstance(each, type(G5))], keep_spot)
    user_file.write(path, file)


def test_a_file_that_was_written_is_read_as_the_same_instance(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    merge(path, G5)
    assert read_catalog(path.read_text().splitlines()).instances == (G5,)


def test_rows_of_other_regions_and_providers_and_unknown_columns_stay(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "note,provider,instance,region,on_demand_usd_per_hour\n"
        "mine,aws,g5.xlarge,eu-west-1,1.123\n"
        "old,aws,g5.xlarge,us-east-1,9\n"
        "own,home,box,cellar,0.2\n"
    )
    merge(path, G5)
    rows = written(path)
    assert [(row["note"], row["region"], row["on_demand_usd_per_hour"]) for row in rows] == [
        ("mine", "eu-west-1", "1.123"),
        ("old", "us-east-1", "1.006"),
        ("own", "cellar", "0.2"),
    ]
    assert rows[1]["sku_ids"] == "A B"


def test_kept_spot_prices_keep_their_date(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "provider,instance,region,spot_usd_per_hour,as_of\naws,g5.xlarge,us-east-1,0.39,2026-10-01\n"
    )
    merge(path, replace(G5, spot_usd_per_hour=None, spot_as_of=None), keep_spot=("g5.xlarge",))
    (row,) = written(path)
    assert (row["spot_usd_per_hour"], row["spot_as_of"]) == ("0.39", "2026-10-01")
    assert row["as_of"] == "2026-11-27"


def test_kept_spot_prices_may_be_those_of_the_bundled_catalog(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    known = bundled_catalog().find("g2-standard-4")
    new = replace(known, spot_usd_per_hour=None, as_of="2026-11-27")
    merge(path, new, keep_spot=("g2-standard-4",))
    (row,) = written(path)
    assert float(row["spot_usd_per_hour"]) == known.spot_usd_per_hour
    assert row["spot_as_of"] == (known.spot_as_of or known.as_of)


def test_known_prices_are_those_of_the_file_and_then_of_the_bundled_catalog(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "provider,instance,region,on_demand_usd_per_hour\naws,g5.xlarge,us-east-1,1.5\n"
    )
    known = user_file.read(path).known_prices("aws", "us-east-1")
    assert known["g5.xlarge"] == {"on-demand": 1.5}
    assert known["g5.2xlarge"]["on-demand"] == 1.212
    assert user_file.read(path).known_prices("aws", "eu-west-1") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("instance,region\n", r":1: it has no column provider"),
        ("", r":1: it has no column provider"),
        ("provider,instance,region\naws,g5.xlarge\n", r":2: the row has more or fewer fields"),
        ("provider,instance,region\na,b,c,d\n", r":2: the row has more or fewer fields"),
        (
            "provider,instance,region,spot_usd_per_hour\na,b,c,-1\n",
            r":2: spot_usd_per_hour is '-1'; give a number above 0",
        ),
        (
            "provider,instance,region,on_demand_usd_per_hour\na,b,c,nan\n",
            r":2: on_demand_usd_per_hour is 'nan'",
        ),
        ('provider,instance,region\n"a"b,c,d\n', r":2: this is not CSV"),
    ],
)
def test_a_file_that_is_no_price_file_is_refused_with_its_line(
    text: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        user_file.read(path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is not UTF-8"):
        user_file.read(path)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(GpubenchError, match="cannot be written"),
        user_file.locked(tmp_path / "file" / "prices.csv"),
    ):
        pass


def test_the_file_is_in_the_users_folder_of_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_file.default_path() == tmp_path / "gpubench" / "prices.csv"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_file.default_path() == tmp_path / ".config" / "gpubench" / "prices.csv"
