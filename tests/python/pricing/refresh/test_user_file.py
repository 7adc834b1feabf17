"""The user's own price file: what a refresh replaces and what it leaves."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from gpubench.errors import GpubenchError
from gpubench.pricing import Instance, bundled_catalog
from gpubench.pricing.price_files import current_catalog
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


HEADER = "provider,instance,region,on_demand_usd_per_hour,accelerator_count\n"


def written(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def merge(path: Path, *instances: Instance, keep_spot: tuple[str, ...] = ()) -> None:
    user_file.write(path, user_file.merged(user_file.read(path), instances, keep_spot))


def test_a_file_that_was_written_is_read_as_the_same_instance(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    merge(path, G5)
    (read,) = user_file.read(path)
    assert replace(read, file=None) == G5


def test_rows_of_other_regions_and_providers_stay(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        HEADER + "aws,g5.xlarge,eu-west-1,1.123,1\naws,g5.xlarge,us-east-1,9,1\n"
        "home,box,cellar,0.2,0\n"
    )
    merge(path, G5)
    rows = written(path)
    assert [(row["region"], row["on_demand_usd_per_hour"]) for row in rows] == [
        ("eu-west-1", "1.123"),
        ("us-east-1", "1.006"),
        ("cellar", "0.2"),
    ]
    assert [row["sku_ids"] for row in rows] == ["", "A B", ""]
    assert [row["source"] for row in rows] == ["", G5.source, ""]


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
    path.write_text(HEADER + "aws,g5.xlarge,us-east-1,1.5,1\n")
    rows = user_file.read(path)
    known = user_file.known_prices(rows, "aws", "us-east-1")
    assert known["g5.xlarge"] == {"on-demand": 1.5}
    assert known["g5.2xlarge"]["on-demand"] == 1.212
    assert user_file.known_prices(rows, "aws", "eu-west-9") == {}


def test_a_row_without_sku_ids_was_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(HEADER + "aws,g5.2xlarge,us-east-1,1,1\naws,g5.4xlarge,eu-west-1,1,1\n")
    merge(path, G5)
    assert user_file.written_by_hand(user_file.read(path), "aws", "us-east-1") == {"g5.2xlarge"}


def test_prices_that_were_refreshed_are_those_that_reports_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = user_file.path_of_user_file()
    with user_file.locked(path):
        merge(path, replace(G5, on_demand_usd_per_hour=1.25))
    assert current_catalog().find_price("g5.xlarge")[2] == 1.25
    assert current_catalog().find_price("g5.xlarge:spot")[2] == 0.4


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(GpubenchError, match="cannot be written"),
        user_file.locked(tmp_path / "file" / "prices.csv"),
    ):
        pass
