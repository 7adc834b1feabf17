"""`gpubench prices refresh`, against a server on this machine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from price_server import DATA, PriceServer, Reply, data, serve

from gpubench.cli import program as cli
from gpubench.pricing.refresh import aws_spot, user_file
from gpubench.pricing.refresh.fetch import Downloads

no_credentials = pytest.importorskip("botocore.exceptions").NoCredentialsError

GOOGLE = ("--provider", "gcp", "--region", "us-central1")
AZURE = ("--provider", "azure", "--region", "eastus")
AZURE_PAGES = ("azure_eastus_1.json", "azure_eastus_2.json")
HOME = "provider,instance,region,on_demand_usd_per_hour,accelerator_count\nhome,box,cellar,0.2,0\n"
T4 = "Standard_NC4as_T4_v3"


@pytest.fixture(autouse=True)
def _own_settings_no_waits_and_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GPUBENCH_GCP_API_KEY", raising=False)

    def no_account(region: str) -> aws_spot.Ec2:
        raise no_credentials()

    monkeypatch.setattr(aws_spot, "connect", no_account)
    monkeypatch.setattr(
        "gpubench.pricing.refresh.read.Downloads", lambda: Downloads(sleep=lambda _: None)
    )


def refresh(server: PriceServer, *arguments: str) -> int:
    return cli.main(["prices", "refresh", "--url", server.url, *arguments])


def rows() -> dict[str, dict[str, str]]:
    text = user_file.path_of_user_file().read_text()
    return {row["instance"]: row for row in csv.DictReader(text.splitlines())}


def test_prices_of_aws_are_written_with_source_date_and_skus_and_spot_is_told_to_be_absent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve(data("aws_us-east-1.csv")) as server:
        assert refresh(server, "--provider", "aws", "--region", "us-east-1") == 0
    row = rows()["g5.xlarge"]
    assert (row["on_demand_usd_per_hour"], row["one_year_usd_per_hour"]) == ("1.006", "0.63378")
    assert row["sku_ids"] == "SKU0000000000001"
    assert row["source"].startswith("AWS price list, us-east-1")
    assert row["spot_usd_per_hour"] == ""
    captured = capsys.readouterr()
    assert "spot prices of AWS were not read" in captured.err
    assert "Unable to locate credentials" in captured.err
    assert "r8g.4xlarge" not in captured.out  # it is new
    assert "0 changed, 6 new, 0 refused" in captured.out
    assert captured.out.endswith(f"written to {user_file.path_of_user_file()}\n")


def test_a_dry_run_shows_the_changes_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve(data(*AZURE_PAGES)) as server:
        assert refresh(server, *AZURE, "--dry-run") == 0
    assert not user_file.path_of_user_file().parent.exists()
    out = capsys.readouterr().out
    assert "nothing was written to" in out
    line = next(line for line in out.splitlines() if T4 in line and "spot" in line)
    assert line.split()[1:] == ["spot", "–", "0.2104", "–"]


def test_only_the_named_instances_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(data(*AZURE_PAGES)) as server:
        assert refresh(server, *AZURE, "--instance", f"{T4},Standard_Nothing") == 0
    assert set(rows()) == {T4}
    assert "azure has no usable price of Standard_Nothing in eastus" in capsys.readouterr().err


def test_a_name_that_the_provider_does_not_have_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve(data(*AZURE_PAGES)) as server:
        assert refresh(server, *AZURE, "--instance", "Standard_Nothing") == 1
    assert not user_file.path_of_user_file().exists()
    assert "no usable price of Standard_Nothing in eastus" in capsys.readouterr().err


def doubled() -> list[Reply]:
    """The prices of Azure with that of one T4 machine doubled."""
    pages = [json.loads((DATA / name).read_text()) for name in AZURE_PAGES]
    for item in (item for page in pages for item in page["Items"]):
        if item["armSkuName"] == T4 and item["retailPrice"] == 0.526:
            item["retailPrice"] = 1.052
    return [Reply(json.dumps(page).encode()) for page in pages]


def test_a_refused_price_stays_as_it_was_the_rest_is_written_and_the_status_is_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve(data(*AZURE_PAGES)) as server:
        refresh(server, *AZURE)
    with serve(doubled()) as server:
        assert refresh(server, *AZURE) == 3
    assert rows()[T4]["on_demand_usd_per_hour"] == "0.526"
    out = capsys.readouterr().out
    assert "it was $0.526, a change of +100%" in out
    assert f"To use these prices: --accept {T4}" in out
    assert "1 refused" in out


def test_a_price_that_the_user_wrote_stays(capsys: pytest.CaptureFixture[str]) -> None:
    path = user_file.path_of_user_file()
    path.parent.mkdir(parents=True)
    path.write_text(f"provider,instance,region,on_demand_usd_per_hour\nazure,{T4},eastus,0.5\n")
    with serve(data(*AZURE_PAGES)) as server:
        assert refresh(server, *AZURE) == 3
    assert rows()[T4]["on_demand_usd_per_hour"] == "0.5"
    assert len(rows()) == 21
    assert "which is your own" in capsys.readouterr().out


@pytest.mark.parametrize("accept", [T4, f"{T4},Standard_D2s_v5", "all"])
def test_an_accepted_price_is_written(accept: str) -> None:
    with serve(doubled()) as server:
        assert refresh(server, *AZURE, "--accept", accept) == 0
    assert rows()[T4]["on_demand_usd_per_hour"] == "1.052"


def test_a_price_of_0_cannot_be_accepted() -> None:
    pages = [json.loads((DATA / name).read_text()) for name in AZURE_PAGES]
    items = [item for page in pages for item in page["Items"] if item["armSkuName"] == T4]
    for item in items:
        item["retailPrice"] = 0.0
    with serve([Reply(json.dumps(page).encode()) for page in pages]) as server:
        assert refresh(server, *AZURE, "--accept", "all") == 3
    assert T4 not in rows()


@pytest.mark.parametrize(
    "second", [Reply(status=500), Reply(status=403), Reply(b"<html>"), Reply(b"{", 200, {}, 50)]
)
def test_an_answer_whose_second_page_fails_changes_nothing(
    second: Reply, capsys: pytest.CaptureFixture[str]
) -> None:
    path = user_file.path_of_user_file()
    path.parent.mkdir(parents=True)
    path.write_text(HOME)
    with serve([*data(AZURE_PAGES[0]), second]) as server:
        assert refresh(server, *AZURE) == 1
    assert path.read_text() == HOME
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("gpubench: ")
    assert "no price was changed" in error


def test_two_providers_share_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_GCP_API_KEY", "secret-key")
    with serve(data(*AZURE_PAGES)) as server:
        refresh(server, *AZURE)
    with serve(data("google_1.json", "google_2.json")) as server:
        assert refresh(server, *GOOGLE) == 0
        assert server.headers[0]["X-Goog-Api-Key"] == "secret-key"
    assert {"azure", "gcp"} == {row["provider"] for row in rows().values()}
    assert rows()["n1-standard-4+1xT4"]["accelerator"] == "T4"
    assert "secret-key" not in user_file.path_of_user_file().read_text()


def test_a_region_without_any_price_is_probably_mistyped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve([Reply(b'{"Items": [], "NextPageLink": null}')]) as server:
        assert refresh(server, "--provider", "azure", "--region", "eastuss") == 1
    assert "no usable price for eastuss; no price was changed; check the name" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--provider", "asure", "--region", "eastus"), "unknown provider 'asure'; did you mean"),
        (("--provider", "aws", "--region", "us-east"), "write it like us-east-1"),
        (("--provider", "aws", "--region", "us-east-1/.."), "is not the name of a region of aws"),
        (("--provider", "aws", "--region", "cn-north-1"), "in CNY"),
        (("--provider", "azure", "--region", "East US"), "write it like eastus"),
        (("--provider", "gcp", "--region", "us-central1-a"), "write it like us-central1"),
        (GOOGLE, "set GPUBENCH_GCP_API_KEY, or give --api-key"),
        ((*GOOGLE, "--api-key", "line\nbreak"), "a key has letters, digits, - and _ only"),
        ((*AZURE, "--instance", f"azure/{T4}"), "write the name alone, without provider"),
        ((*AZURE, "--instance", T4, "--accept", "other"), "--instance does not name it"),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_asked(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve([Reply(b"{}")]) as server:
        assert refresh(server, *arguments) == 2
    assert not server.paths
    error = capsys.readouterr().err.splitlines()[-1]
    assert problem in error
    assert "break" not in error


def test_a_price_file_that_cannot_be_used_is_told_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = user_file.path_of_user_file()
    path.parent.mkdir(parents=True)
    path.write_text("my notes\n")
    with serve([Reply(b"{}")]) as server:
        assert refresh(server, *AZURE) == 2
    assert not server.paths
    assert f"{path}:1: unknown column 'my notes'" in capsys.readouterr().err


def test_a_second_refresh_finds_nothing_new(capsys: pytest.CaptureFixture[str]) -> None:
    written = []
    for _ in range(2):
        with serve(data(*AZURE_PAGES)) as server:
            assert refresh(server, *AZURE) == 0
        written.append(rows())
    assert written[0] == written[1]
    assert len(written[1]) == 21
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("21 instances read; prices: 0 changed, 0 new, 0 refused; written to ")
