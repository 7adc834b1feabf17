"""Prices of Google Cloud's machines from the Cloud Billing Catalog. It needs an API key.

The catalog lists parts, not machines: a core, a GiB of memory, a GPU, a GiB of local SSD. The price
of a machine is the sum of its parts:

    price = cores * core price + GiB * memory price + GPUs * GPU price + GiB * SSD price / 730

A4 machines are the exception: the SKU of their GPU includes the machine. N1 machines with GPUs as
an option get a name that gpubench made up, such as n1-standard-4+1xT4.

A SKU is only used if its description has one of the exact forms below. This keeps out SKUs that
look alike: Sole Tenancy, Custom, Reserved (often at $0), Calendar Mode, DWS Defined Duration, and
Premium, which is added to another price. Some SKUs for spot have the usage type OnDemand; the
description counts. A price is `units` (a text) plus `nanos` (billionths). If the first tiers are
free, the first tier with a price counts.

References: https://cloud.google.com/billing/v1/how-tos/catalog-api and, for the local SSDs that are
part of a machine type, https://cloud.google.com/compute/docs/accelerator-optimized-machines:
375 GiB for each GPU of A2 Ultra, 6,000 GiB for 8 GPUs of A3 High and Mega, 12,000 of A3 Ultra.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gpubench.pricing.names import Term
from gpubench.pricing.refresh.answer import (
    AnswerBuilder,
    ProviderAnswer,
    not_in_usd,
    other_form,
    text_of,
)
from gpubench.pricing.refresh.hardware import MachineHardware, composed, google
from gpubench.pricing.refresh.quotes import PriceConflictError, Quote, Quotes

if TYPE_CHECKING:
    from gpubench.pricing.refresh.fetch import Downloads

URL = "https://cloudbilling.googleapis.com"
_ANSWER = "the answer of Google"
COMMITMENT = "committed use discount on resources"
_PATH = "/v1/services/6F81-5844-456A/skus"  # Compute Engine
_PAGE_SIZE = 1000
_MOST_PAGES = 500
_HOURS_OF_A_MONTH = 730  # Google bills a month of storage as 730 hours
_COMMITTED: dict[str, Term] = {"1": "1-year", "3": "3-year"}


@dataclass(frozen=True)
class _Family:
    """What the machines of a family consist of."""

    host: str | None  # of the SKUs for cores and memory. None: the SKU of the GPU includes them
    gpu: str | None = None
    local_ssd_gib: int = 0  # for each GPU


_FAMILIES = {
    "n1-standard": _Family("n1"),
    "n2-standard": _Family("n2"),
    "c3-standard": _Family("c3"),
    "c4-standard": _Family("c4"),
    "g2-standard": _Family("g2", "L4"),
    "a2-highgpu": _Family("a2", "A100 40GB"),
    "a2-megagpu": _Family("a2", "A100 40GB"),
    "a2-ultragpu": _Family("a2", "A100 80GB", 375),
    "a3-highgpu": _Family("a3", "H100", 750),
    "a3-megagpu": _Family("a3plus", "H100 Mega", 750),
    "a3-ultragpu": _Family("a3ultra", "H200", 1500),
    "a4-highgpu": _Family(None, "B200 with its machine"),
}
_HOSTS = "|".join(sorted({family.host for family in _FAMILIES.values() if family.host}))
_GPUS = {
    "nvidia tesla t4 gpu": "T4",
    "nvidia tesla v100 gpu": "V100",
    "nvidia l4 gpu": "L4",
    "nvidia tesla a100 gpu": "A100 40GB",
    "nvidia tesla a100 80gb gpu": "A100 80GB",
    "nvidia h100 80gb gpu": "H100",
    "nvidia h100 80gb mega gpu": "H100 Mega",
    "nvidia h100 80gb plus gpu": "H100 Mega",
    "nvidia h100 mega 80gb gpu": "H100 Mega",
    "nvidia h200 141gb gpu": "H200",
    "h200 141gb gpu": "H200",
    "a4 nvidia b200 (1 gpu slice)": "B200 with its machine",
}
_CORE_OR_RAM = re.compile(rf"({_HOSTS})(?: predefined)? instance (core|ram)")
_COMMITTED_CORE_OR_RAM = re.compile(rf"(?:({_HOSTS}) )?(cpu|core|ram)")
_COMMITMENT = re.compile(r"commitment v1: (.+?)(?: running)? in .+ for ([13]) years?")
_SPOT = re.compile(r"^(?:spot )?preemptible | attached to (?:spot )?preemptible vms")
_PLACE = re.compile(r" running in .+$|(?<=^ssd backed local storage) in .+$")
_LOCAL_SSD = ("ssd backed local storage", "local ssd")
# Parts are billed by the hour, except local SSDs.
_UNITS = {"core": "h", "gpu": "h", "ram": "GiBy.h", "ssd": "GiBy.mo"}


@dataclass(frozen=True)
class _Part:
    kind: str  # a key of _UNITS
    name: str  # of the family or of the GPU


def read(
    downloads: Downloads, region: str, names: Sequence[str], today: str, key: str, url: str = URL
) -> ProviderAnswer:
    """The prices of a region. `names` are instances that the user asked for; they may be composed.

    The key is sent in a header, so no message contains it. Raises GpubenchError if a page cannot be
    read or has another form.
    """
    quotes = Quotes[tuple[_Part, Term]]()
    for sku in _skus(downloads, key, url):
        description = text_of(sku, "description")
        found = _part(description, _usage_type(sku))
        if found is None or region not in _texts(sku.get("serviceRegions")):
            continue
        quotes.add(found, _usd(sku, found[0], description), text_of(sku, "skuId"))
    known = google()
    for name in names:
        if name not in known and (hardware := composed(name, known)) is not None:
            known[name] = hardware
    builder = AnswerBuilder("gcp", region, today, COMMITMENT)
    for name, hardware in known.items():
        parts = _parts(name, hardware)
        made_up = "; the name of the combination is gpubench's" if "+" in name else ""
        source = f"Google Cloud Billing Catalog, {region}, sum of SKUs{made_up}"
        builder.add(name, hardware, source, partial(_sum, parts, quotes))
    return builder.answer()


def _parts(name: str, hardware: MachineHardware) -> dict[_Part, float]:
    """The amount of each part of a machine."""
    host_name, _, added = name.partition("+")
    family = _FAMILIES[re.sub(r"-\d+g?$", "", host_name)]
    parts: dict[_Part, float] = {}
    if family.host is not None:
        parts[_Part("core", family.host)] = hardware.vcpus
        parts[_Part("ram", family.host)] = hardware.memory_gib
    gpu = added.partition("x")[2] or family.gpu
    if gpu:
        parts[_Part("gpu", gpu)] = hardware.accelerator_count
    if family.local_ssd_gib:
        parts[_Part("ssd", "")] = family.local_ssd_gib * hardware.accelerator_count
    return parts


def _sum(parts: dict[_Part, float], quotes: Quotes[tuple[_Part, Term]], term: Term) -> Quote | None:
    """The price of all parts. None if one of them has no price for this term."""
    usd = 0.0
    skus: list[str] = []
    for part, amount in parts.items():
        try:
            quote = quotes.get((part, term))
        except PriceConflictError as error:
            raise PriceConflictError(f"{part.kind} {part.name}".strip() + f": {error}") from None
        if quote is None:
            return None
        usd += amount * quote.usd
        skus += quote.sku_ids
    return Quote(round(usd, 9), tuple(skus))


def _part(description: str, usage_type: str) -> tuple[_Part, Term] | None:
    """What a SKU is for. None if it is none of the parts, or another way of buying it."""
    text = description.casefold()
    if committed := _COMMITMENT.fullmatch(text):
        term = _COMMITTED[committed[2]]
        if usage_type != f"Commit{committed[2]}Yr":
            return None
        if found := _COMMITTED_CORE_OR_RAM.fullmatch(committed[1]):
            kind = "ram" if found[2] == "ram" else "core"
            return _Part(kind, found[1] or "n1"), term
        return _other_part(committed[1], term)
    if usage_type not in {"OnDemand", "Preemptible"}:
        return None
    is_spot = usage_type == "Preemptible" or _SPOT.search(text) is not None
    text = _PLACE.sub("", _SPOT.sub("", text))
    term = "spot" if is_spot else "on-demand"
    if found := _CORE_OR_RAM.fullmatch(text):
        return _Part(found[2], found[1]), term
    return _other_part(text, term)


def _other_part(text: str, term: Term) -> tuple[_Part, Term] | None:
    if text in _GPUS:
        return _Part("gpu", _GPUS[text]), term
    return (_Part("ssd", ""), term) if text in _LOCAL_SSD else None


def _usd(sku: Mapping[str, object], part: _Part, description: str) -> float:
    """US dollars for an hour of one core, GiB or GPU."""
    infos = sku.get("pricingInfo")  # in the order of time
    latest = infos[-1] if isinstance(infos, list) and infos else None
    expression = _mapping(_mapping(latest).get("pricingExpression"))
    rates = expression.get("tieredRates")
    unit = text_of(expression, "usageUnit")
    if not isinstance(rates, list) or not rates:
        raise other_form(_ANSWER, f"'{description}' has no price")
    if unit != _UNITS[part.kind]:
        expected = _UNITS[part.kind]
        raise other_form(_ANSWER, f"'{description}' is priced by {unit}, not by {expected}")
    prices = [_money(_mapping(_mapping(rate).get("unitPrice")), description) for rate in rates]
    usd = next((price for price in prices if price > 0), 0.0)
    return usd / _HOURS_OF_A_MONTH if part.kind == "ssd" else usd


def _money(price: Mapping[str, object], description: str) -> float:
    if (currency := text_of(price, "currencyCode")) != "USD":
        raise not_in_usd("the prices of Google", currency)
    units, nanos = price.get("units", "0"), price.get("nanos", 0)
    try:
        return int(str(units)) + int(str(nanos)) / 1e9
    except ValueError:
        raise other_form(_ANSWER, f"the price of '{description}' is not a number") from None


def _skus(downloads: Downloads, key: str, url: str) -> Iterator[Mapping[str, object]]:
    token, tokens = "", set()
    for _ in range(_MOST_PAGES):
        query = {"currencyCode": "USD", "pageSize": str(_PAGE_SIZE)}
        if token:
            query["pageToken"] = token
        page = downloads.json(f"{url}{_PATH}?{urlencode(query)}", {"X-Goog-Api-Key": key})
        skus = page.get("skus", [])
        if not isinstance(skus, list) or not all(isinstance(sku, dict) for sku in skus):
            raise other_form(_ANSWER, "a page has no list 'skus'")
        yield from skus
        token = text_of(page, "nextPageToken")
        if not token:
            return
        if token in tokens:
            raise other_form(_ANSWER, "a page was answered twice")
        tokens.add(token)
    raise other_form(_ANSWER, f"it has more than {_MOST_PAGES} pages")


def _usage_type(sku: Mapping[str, object]) -> str:
    return text_of(_mapping(sku.get("category")), "usageType")


def _texts(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
