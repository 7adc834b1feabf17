"""Reads the prices of one provider in one region."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from gpubench.errors import InputError, nearest
from gpubench.pricing.refresh.answer import ProviderAnswer
from gpubench.pricing.refresh.fetch import Downloads

# The form of the names of regions, and an example.
_REGIONS = {
    "aws": (r"[a-z]{2}(-[a-z]+)+-\d", "us-east-1"),
    "azure": (r"[a-z]+\d?", "eastus"),
    "gcp": (r"[a-z]+-[a-z]+\d+", "us-central1"),
}
PROVIDERS = tuple(_REGIONS)


def check_region(provider: str, region: str) -> None:
    """Raises InputError if there is no such provider, or if a region cannot have this name."""
    if provider not in _REGIONS:
        raise InputError(f"unknown provider '{provider}'; {nearest(provider, PROVIDERS)}")
    form, example = _REGIONS[provider]
    if re.fullmatch(form, region) is None:
        raise InputError(
            f"'{region}' is not the name of a region of {provider}; write it like {example}"
        )
    if provider == "aws" and region.startswith("cn-"):
        raise InputError(
            "the prices of AWS in China are in CNY, and gpubench has only USD; write a price file "
            "with prices that you have converted"
        )


def read_prices(
    provider: str,
    region: str,
    names: Sequence[str],
    now: datetime,
    api_key: str | None = None,
    downloads: Downloads | None = None,
    url: str | None = None,
) -> ProviderAnswer:
    """All prices of a region. `names` are instances that must be among them, if they exist.

    `now` has a time zone. `url` replaces the address of the interface, for tests. Raises InputError
    for a wrong region or a missing key, and GpubenchError if there is no complete answer.
    """
    check_region(provider, region)
    downloads = downloads or Downloads()
    today = now.date().isoformat()
    if provider == "aws":
        from gpubench.pricing.refresh import aws, aws_spot

        answer = aws.read(downloads, region, names, today, url or aws.URL)
        return aws_spot.with_spot(answer, region, now)
    if provider == "azure":
        from gpubench.pricing.refresh import azure

        return azure.read(downloads, region, names, today, url or azure.URL)
    from gpubench.pricing.refresh import google

    if not api_key:
        raise InputError(
            "Google's price catalog needs an API key; set GPUBENCH_GCP_API_KEY, or give --api-key "
            "(docs/prices.md says how to get one)"
        )
    if re.fullmatch(r"[\w-]{1,200}", api_key, re.ASCII) is None:
        raise InputError("--api-key: a key has letters, digits, - and _ only; copy it again")
    return google.read(downloads, region, names, today, api_key, url or google.URL)
