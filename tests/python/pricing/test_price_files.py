"""Files of prices: what overrides what, what is inherited, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubench.errors import InputError
from gpubench.pricing import bundled_catalog, current_catalog
from gpubench.pricing.catalog import Catalog, Instance
from gpubench.pricing.price_files import (
    MOST_BYTES,
    read_price_file,
    user_file,
    with_precedence,
)

HEADER = "provider,instance,region,on_demand_usd_per_hour"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file. The folder is new, and the file is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = user_file()
    assert path == tmp_path / "config" / "gpubench" / "prices.csv"
    path.parent.mkdir(parents=True)
    return path


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, *lines: str) -> tuple[Instance, ...]:
    return read_price_file(written(path, *lines), bundled_catalog())


def test_a_later_file_overrides_the_same_instance_in_the_same_region_only(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(config, HEADER, "aws,g5.xlarge,us-east-1,1", "aws,g5.2xlarge,us-east-1,2")
    first = written(tmp_path / "a.csv", HEADER, "aws,g5.xlarge,us-east-1,3")
    second = written(tmp_path / "b.csv", HEADER, "aws,g5.xlarge,us-east-1,4")
    monkeypatch.setenv("GPUBENCH_PRICES", f"{first}:{second}")
    catalog = current_catalog()
    assert [i.on_demand_usd_per_hour for i in catalog.regions("g5.xlarge")] == [4]
    assert catalog.find("g5.xlarge").file == str(second)
    assert catalog.find("g5.2xlarge").on_demand_usd_per_hour == 2
    assert catalog.find("g5.4xlarge") is bundled_catalog().find("g5.4xlarge")
    assert len(catalog.instances) == len(bundled_catalog().instances)


def test_a_row_of_a_new_region_comes_before_the_bundled_one(tmp_path: Path) -> None:
    rows = read(tmp_path / "p.csv", HEADER, "aws,g5.xlarge,eu-west-1,1.1")
    catalog = with_precedence(rows, bundled_catalog())
    assert [i.region for i in catalog.regions("g5.xlarge")] == ["eu-west-1", "us-east-1"]


def test_a_name_without_a_region_means_a_named_file_then_the_region_of_the_bundled_list(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(config, HEADER, "aws,g5.xlarge,eu-west-1,1.1", "aws,g5.2xlarge,us-east-1,2")
    assert current_catalog().find_price("g5.xlarge")[2] == 1.006
    assert current_catalog().find_price("g5.2xlarge")[2] == 2
    assert current_catalog().find_price("g5.xlarge@eu-west-1")[2] == 1.1
    named = written(tmp_path / "a.csv", HEADER, "aws,g5.xlarge,eu-west-3,1.2")
    monkeypatch.setenv("GPUBENCH_PRICES", f"{named}")
    assert current_catalog().find_price("g5.xlarge")[2] == 1.2
    monkeypatch.setenv("GPUBENCH_PRICES", f"{config}")
    assert current_catalog().find_price("g5.xlarge")[2] == 1.1


def test_without_files_the_catalog_is_the_bundled_one(config: Path) -> None:
    assert not config.exists()
    assert current_catalog() is bundled_catalog()


def test_a_row_inherits_the_hardware_of_a_known_instance_and_nothing_else(tmp_path: Path) -> None:
    [row] = read(tmp_path / "p.csv", HEADER, "gcp,g2-standard-4,europe-west4,0.8")
    bundled = bundled_catalog().find("g2-standard-4")
    assert (row.accelerator, row.accelerator_count, row.vcpus, row.memory_gib) == ("L4", 1, 4, 16)
    assert row.accelerator_memory_gib == bundled.accelerator_memory_gib
    assert bundled.spot_usd_per_hour is not None
    assert row.spot_usd_per_hour is None
    assert row.as_of is None
    assert row.source == "p.csv"


def test_stated_hardware_is_not_inherited(tmp_path: Path) -> None:
    [row] = read(
        tmp_path / "p.csv",
        f"{HEADER},accelerator,accelerator_count,vcpus",
        "aws,g5.xlarge,us-east-1,1,B200,2,8",
    )
    assert (row.accelerator, row.accelerator_count, row.vcpus) == ("B200", 2, 8)
    assert (row.accelerator_memory_gib, row.memory_gib) == (None, 16)


def test_a_machine_of_ones_own_is_an_instance_too(tmp_path: Path) -> None:
    header = f"{HEADER},accelerator,accelerator_count,currency,as_of,spot_usd_per_hour"
    row, copy = read(
        tmp_path / "p.csv",
        header,
        "lab,box+4xL4,cellar,0.9,L4,4,USD,2026-10-01,0.2",
        "",
        "lab,box+4xL4,attic,1.0,,,,,",
    )
    assert (row.name, row.accelerator_count, row.as_of, row.vcpus) == (
        "box+4xL4",
        4,
        "2026-10-01",
        None,
    )
    assert copy.accelerator == "L4"  # of the row before
    assert Catalog((row, copy)).find_price("lab/box+4xL4@attic")[2] == 1.0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((HEADER, "aws,g5.xlarge,us-east-1,-1"), ":2: on_demand_usd_per_hour -1 is not a price"),
        ((HEADER, "aws,g5.xlarge,us-east-1,0"), ":2: on_demand_usd_per_hour 0 is not a price"),
        ((HEADER, "aws,g5.xlarge,us-east-1,nan"), ":2: on_demand_usd_per_hour 'nan' is not"),
        ((HEADER, "aws,g5.xlarge,us-east-1,inf"), ":2: on_demand_usd_per_hour 'inf' is not"),
        ((HEADER, "aws,g5.xlarge,us-east-1,1e10"), ":2: on_demand_usd_per_hour 1e10 is not a"),
        ((HEADER, "aws,g5.xlarge,us-east-1,$1"), ":2: on_demand_usd_per_hour '$1' is not a num"),
        ((HEADER, "aws,g5.xlarge,us-east-1,"), ":2: g5.xlarge has no price"),
        ((HEADER, "aws,g5.xlarge,,1"), ":2: the field 'region' is empty"),
        ((HEADER, "aws,g5:x,us-east-1,1"), ":2: 'g5:x' is no name in instance; only letters"),
        ((HEADER, "aws,new.large,us-east-1,1"), ":2: new.large is not a known instance"),
        ((HEADER, "aws,g5.xlarge,us-east-1"), ":2: it has 3 fields, and line 1 has 4"),
        ((HEADER, 'aws,"g5'), ":2: this is not CSV"),
        (
            (HEADER, "aws,g5.xlarge,a,1", "aws,g5.xlarge,b,1", "aws,g5.xlarge,a,2"),
            ":4: g5.xlarge in a is in line 2 too; remove one",
        ),
        ((f"{HEADER},currency", "aws,g5.xlarge,a,1,EUR"), ":2: prices in EUR; convert them to USD"),
        ((f"{HEADER},as_of", "aws,g5.xlarge,a,1,20.7.2026"), ":2: as_of '20.7.2026' is not a date"),
        ((f"{HEADER},as_of", "aws,g5.xlarge,a,1,2026-02-30"), ":2: as_of '2026-02-30' is not a"),
        ((f"{HEADER},vcpus", "aws,g5.xlarge,a,1,1.5"), ":2: vcpus 1.5 must be a whole number"),
        ((f"{HEADER},memory_gib", "aws,g5.xlarge,a,1,-4"), ":2: memory_gib -4 must be above 0"),
        (
            (f"{HEADER},accelerator_count", "aws,g5.xlarge,a,1,0"),
            None,  # the user says that it is without its GPU
        ),
        (
            (f"{HEADER},accelerator_count", "aws,c7i.xlarge,a,1,2"),
            ":2: accelerator is '' and accelerator_count is 2; give both",
        ),
        ((f"{HEADER},source", "aws,g5.xlarge,a,1,\x1b[31m"), ":2: source contains a control char"),
        ((f"{HEADER},source", f"aws,g5.xlarge,a,1,{'x' * 501}"), ":2: source has 501 characters"),
        ((f"{HEADER},sorce", "aws,g5.xlarge,a,1,x"), ":1: unknown column 'sorce'; did you mean so"),
        ((f"{HEADER},region", "aws,g5.xlarge,a,1,x"), ":1: the column 'region' is there twice"),
        (("provider,instance,spot_usd_per_hour",), ":1: the column 'region' is missing"),
        (("provider,instance,region,vcpus",), ":1: there is no column with prices; add one of on"),
        (("",), ":1: the column 'provider' is missing"),
    ],
)
def test_a_field_that_is_wrong_is_refused_with_its_file_and_line(
    tmp_path: Path, lines: tuple[str, ...], said: str | None
) -> None:
    path = tmp_path / "p.csv"
    if said is None:
        assert read(path, *lines)[0].accelerator is None
        return
    with pytest.raises(InputError) as error:
        read(path, *lines)
    assert str(error.value).startswith(f"{path}{said}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(f"{HEADER}\naws,g5.xlarge,a\xe9,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"p\.csv:2: this is not UTF-8"):
        read_price_file(path, bundled_catalog())


def test_a_file_of_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\naws,g5.xlarge,a,1\r\n".encode())
    assert read_price_file(path, bundled_catalog())[0].on_demand_usd_per_hour == 1


def test_a_file_that_is_absent_a_folder_or_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for path, reason in (
        (tmp_path / "absent.csv", "No such file"),
        (tmp_path, "a folder"),
        (large, "larger than 32 MiB"),
    ):
        with pytest.raises(InputError, match=f"these prices cannot be read: .*{reason}"):
            read_price_file(path, bundled_catalog())


LINE = st.lists(st.text(max_size=8) | st.sampled_from(["aws", "g5.xlarge", "1e999", '"'])).map(
    ",".join
)


@settings(deadline=None)
@given(lines=st.lists(LINE), first=st.sampled_from([HEADER, ""]), junk=st.binary(max_size=8))
def test_whatever_a_file_contains_it_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], first: str, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes("\n".join([first, *lines]).encode(errors="replace") + junk)
    refusal = ""
    try:
        rows = read_price_file(path, bundled_catalog())
    except InputError as error:
        rows, refusal = (), str(error)
    assert refusal.isprintable()
    assert all(row.on_demand_usd_per_hour for row in rows)


def test_a_file_that_changes_or_goes_cannot_fail_what_was_measured(
    config: Path,
) -> None:
    written(config, HEADER, "aws,g5.xlarge,us-east-1,1")
    before = current_catalog()
    written(config, HEADER, "broken")
    assert current_catalog() is before
