"""Prices of Azure's virtual machines from the Retail Prices interface. It needs no account.

The answer comes in pages of JSON. One size has many rows, and some look like the right one:

- Windows: `productName` ends with "Windows" or, in some regions, with " Win"
- Low Priority, Dedicated Host and Cloud Services: other ways of buying, with a lower price
- DevTestConsumption: prices for subscribers
- reservations: `unitOfMeasure` is "1 Hour", but the price is that of the whole term
- rows at $0 for sizes that are not sold yet
- rows of the past and of the future: the row counts that has begun last, and has not ended
- NV6ads_A10_v5 and others have a part of a GPU; counted by GPUs they have one. They are not written

Reference: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gpubench.pricing.names import Term
from gpubench.pricing.refresh.answer import (
    AnswerBuilder,
    ProviderAnswer,
    not_in_usd,
    other_form,
    text_of,
)
from gpubench.pricing.refresh.hardware import azure
from gpubench.pricing.refresh.quotes import Quote, Quotes

if TYPE_CHECKING:
    from gpubench.pricing.refresh.fetch import Downloads

URL = "https://prices.azure.com"
_ANSWER = "the answer of Azure"
COMMITMENT = "reservation"
_PATH = "/api/retail/prices"
_UNKNOWN = "gpubench does not know its hardware, which may have a part of a GPU"
_MOST_PAGES = 500
_PAGE_SIZES = (100, 1000)  # the interface has used both
_HOURS_OF_A_YEAR = 8760
_YEARS = {"1 Year": 1, "3 Years": 3}
_YEAR_TERMS: dict[int, Term] = {1: "1-year", 3: "3-year"}
_OTHER_PRODUCTS = re.compile(r"\bWindows\b| Win$|Dedicated Host|Cloud ?Services", re.IGNORECASE)
_SPOT = re.compile(r"\bSpot\b")


@dataclass(frozen=True)
class _Row:
    name: str
    term: Term
    usd_per_hour: float
    meter_id: str
    begins: str  # ISO 8601 date
    ends: str | None


_Rows = dict[tuple[str, Term], list[_Row]]


def read(
    downloads: Downloads, region: str, names: Sequence[str], today: str, url: str = URL
) -> ProviderAnswer:
    """The prices of a region. `names` are the instances that the user asked for.

    Raises GpubenchError if a page cannot be read or has another form.
    """
    known = azure()
    rows: _Rows = {}
    listed: set[str] = set()
    for item in _items(downloads, region, url):
        row = _row(item)
        if row is not None:
            listed.add(row.name)
            if row.name in known and row.begins <= today and not (row.ends and row.ends < today):
                rows.setdefault((row.name, row.term), []).append(row)
    builder = AnswerBuilder("azure", region, today, COMMITMENT)
    for name in names:
        if name in listed and name not in known:
            builder.refuse(name, "on-demand", _UNKNOWN)
    source = f"Azure retail prices, {region}, Linux"
    for name, hardware in known.items():
        builder.add(name, hardware, source, partial(_price, rows, name))
    return builder.answer()


def _price(rows: _Rows, name: str, term: Term) -> Quote | None:
    """The price of the rows that began last, without those at $0. None without rows.

    Raises PriceConflictError if these rows differ, or if all rows are at $0.
    """
    listed = rows.get((name, term), [])
    usable = [row for row in listed if row.usd_per_hour > 0] or listed
    quotes = Quotes[str]()
    for row in usable:
        if row.begins == max(each.begins for each in usable):
            quotes.add("price", row.usd_per_hour, row.meter_id)
    return quotes.get("price")


def _items(downloads: Downloads, region: str, url: str) -> Iterator[Mapping[str, object]]:
    start = f"{url}{_PATH}?" + urlencode(
        {
            "api-version": "2023-01-01-preview",
            "currencyCode": "'USD'",
            "$filter": f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}'",
        }
    )
    page_url, count = start, 0
    for _ in range(_MOST_PAGES):
        page = downloads.json(page_url)
        items = page.get("Items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise other_form(_ANSWER, "a page has no list 'Items'")
        yield from items
        count += len(items)
        link = page.get("NextPageLink")
        if link and not isinstance(link, str):
            raise other_form(_ANSWER, "'NextPageLink' is not a text")
        if link and items:
            page_url = f"{url}{_PATH}?{urlsplit(link).query}"  # at the host that was asked
        elif len(items) in _PAGE_SIZES:  # in March 2023 the link was missing on full pages
            page_url = f"{start}&$skip={count}"
        else:
            return
    raise other_form(_ANSWER, f"it has more than {_MOST_PAGES} pages")


def _row(item: Mapping[str, object]) -> _Row | None:
    """The row of a Linux machine that anybody can rent by the hour. None: another kind."""
    kind = text_of(item, "type")
    product, sku_name = text_of(item, "productName"), text_of(item, "skuName")
    labels = f"{sku_name} {text_of(item, 'meterName')}"
    name = text_of(item, "armSkuName")
    if not name or _OTHER_PRODUCTS.search(product) or "low priority" in labels.casefold():
        return None
    if kind not in {"Consumption", "Reservation"} or item.get("isPrimaryMeterRegion") is False:
        return None
    if text_of(item, "unitOfMeasure") != "1 Hour":
        return None
    if (currency := text_of(item, "currencyCode")) != "USD":
        raise not_in_usd("the prices of Azure", currency)
    price = item.get("retailPrice")
    if not isinstance(price, int | float) or isinstance(price, bool):
        raise other_form(_ANSWER, f"'retailPrice' of {name} is not a number")
    term: Term = "spot" if _SPOT.search(labels) else "on-demand"
    usd_per_hour = float(price)
    if kind == "Reservation":
        years = _YEARS.get(text_of(item, "reservationTerm"))
        if years is None:
            return None
        term, usd_per_hour = _YEAR_TERMS[years], usd_per_hour / (years * _HOURS_OF_A_YEAR)
    elif item.get("tierMinimumUnits"):
        return None
    begins = text_of(item, "effectiveStartDate")[:10]
    ends = text_of(item, "effectiveEndDate")[:10] or None
    return _Row(name, term, usd_per_hour, text_of(item, "meterId"), begins, ends)
