"""Reads current prices from the public price interfaces of AWS, Azure and Google Cloud.

One module reads one provider and returns a `ProviderAnswer`: instances with their prices, and
prices that it refused, each with a reason. No provider module writes anything.

    aws.py, aws_spot.py    the bulk price list (CSV, no account); spot prices through boto3
    azure.py               the Retail Prices interface (JSON, no account)
    google.py              the Cloud Billing Catalog (JSON, with a key)
    hardware.py            the hardware of an instance, where the provider does not state it
    quotes.py              several prices for one thing are a conflict, and 0 is not a price
    fetch.py               downloads: retries, time-outs, size limits, answers that break off
    guards.py              compares prices with each other and with those that were known before
    user_file.py           the user's own price file, which is merged and written in one step

The steps are always the same: read the whole answer; let the guards judge it; merge it into the
user's file under a lock; write the file in one step. If any step fails, the file stays as it was.
docs/prices.md explains the rules to users.
"""

from __future__ import annotations

from gpubench.pricing.refresh.answer import ProviderAnswer, Refusal
from gpubench.pricing.refresh.guards import Judgement, PriceChange, judge
from gpubench.pricing.refresh.read import PROVIDERS, check_region, read_prices

__all__ = [
    "PROVIDERS",
    "Judgement",
    "PriceChange",
    "ProviderAnswer",
    "Refusal",
    "check_region",
    "judge",
    "read_prices",
]
