"""On-demand and reserved prices from the bulk price list of AWS. It needs no account.

The list of one region is a CSV file of some hundred megabytes: five lines about the list, a line
with the names of the columns, and one line for each price. It is read line by line. Most lines are
for other operating systems, licences, tenancies and ways of buying. The filters below leave one
line for each instance and term. Each of them keeps out prices that look like the right one:

- `MarketOption` CapacityBlock: on-demand rows at $0, because the block was paid in advance
- `CapacityStatus` UnusedCapacityReservation and AllocatedCapacityReservation: reserved capacity
- `PurchaseOption` All Upfront and Partial Upfront: rows per hour at $0, or too low
- `Operating System`, `operation`, `Pre Installed S/W`, `License Model`: Windows, RHEL, SQL Server
- `Location Type` AWS Local Zone, and other region codes: other places in the file of the region

Reference: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api.html
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

from gpubench.pricing.names import Term
from gpubench.pricing.refresh.answer import (
    AnswerBuilder,
    ProviderAnswer,
    Refusal,
    not_in_usd,
    other_form,
)
from gpubench.pricing.refresh.fetch import Downloads
from gpubench.pricing.refresh.hardware import MachineHardware, aws, is_wanted_on_aws
from gpubench.pricing.refresh.quotes import Quote, Quotes

URL = "https://pricing.us-east-1.amazonaws.com"
COMMITMENT = "reserved instance, standard, no upfront payment"
_ANSWER = "the AWS price list"
_MOST_BYTES = 4 << 30
_LINES_BEFORE_THE_COLUMNS = 20

# Column names are compared in lower case, because AWS has changed their case.
_FILTERS = {
    "operating system": ("Linux",),
    "tenancy": ("Shared",),
    "product family": ("Compute Instance", "Compute Instance (bare metal)"),
    "location type": ("AWS Region",),
    "operation": ("RunInstances",),
    "pre installed s/w": ("NA", ""),
    "license model": ("No License required",),
    "capacitystatus": ("Used",),
    "marketoption": ("OnDemand", ""),
    "unit": ("Hrs",),
}
_TERMS: dict[tuple[str, str, str, str], Term] = {
    ("OnDemand", "", "", ""): "on-demand",
    ("Reserved", "1yr", "No Upfront", "standard"): "1-year",
    ("Reserved", "3yr", "No Upfront", "standard"): "3-year",
}
_TERM_COLUMNS = ("termtype", "leasecontractlength", "purchaseoption", "offeringclass")
_OTHER_COLUMNS = (
    *("sku", "priceperunit", "currency", "instance type", "vcpu", "memory", "gpu", "region code"),
)


def read(
    downloads: Downloads, region: str, names: Sequence[str], today: str, url: str = URL
) -> ProviderAnswer:
    """The prices of a region. `names` are instances beyond the usual families.

    Raises GpubenchError if the list cannot be read completely or has another form.
    """

    def parse(body: BinaryIO) -> _List:
        return _List(_lines(body), region, frozenset(names))

    listed = downloads.read(
        f"{url}/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv", parse, _MOST_BYTES
    )
    source = f"AWS price list, {region}, Linux, shared tenancy, published {listed.published}"
    builder = AnswerBuilder("aws", region, today, COMMITMENT, refusals=listed.refusals)
    for name, hardware in listed.hardware.items():
        builder.add(name, hardware, source, partial(listed.price, name))
    return builder.answer(has_spot=False)


def _lines(body: BinaryIO) -> Iterator[str]:
    try:
        yield from io.TextIOWrapper(body, encoding="utf-8", newline="")
    except UnicodeDecodeError:
        raise other_form(_ANSWER, "it is not UTF-8") from None


class _List:
    """The rows of the list that are of use."""

    def __init__(self, lines: Iterator[str], region: str, names: frozenset[str]) -> None:
        self.published = "on an unknown date"
        self.hardware: dict[str, MachineHardware] = {}
        self.quotes = Quotes[tuple[str, Term]]()
        self.refusals: list[Refusal] = []
        self._region = region
        self._names = names
        self._skipped: set[str] = set()
        rows = csv.reader(lines)
        try:
            self._place = self._columns(rows)
            most = max(self._place.values())
            filters = [(self._place[column], values) for column, values in _FILTERS.items()]
            for row in rows:
                if row and len(row) <= most:
                    raise other_form(_ANSWER, f"line {rows.line_num} has too few columns")
                if row and all(row[index] in values for index, values in filters):
                    self._take(row)
        except csv.Error as error:
            raise other_form(_ANSWER, f"line {rows.line_num}: {error}") from None

    def price(self, name: str, term: Term) -> Quote | None:
        """Raises PriceConflictError if there are several prices, or only 0."""
        return self.quotes.get((name, term))

    def _columns(self, rows: Iterator[list[str]]) -> dict[str, int]:
        """The index of each column. Afterwards, the first row of prices comes next."""
        for row, _ in zip(rows, range(_LINES_BEFORE_THE_COLUMNS), strict=False):
            if len(row) == 2 and row[0].casefold() == "publication date":
                self.published = row[1][:10]
            if row and row[0].casefold() == "sku":
                place = {title.casefold(): index for index, title in enumerate(row)}
                needed = (*_FILTERS, *_TERM_COLUMNS, *_OTHER_COLUMNS)
                if missing := [column for column in needed if column not in place]:
                    raise other_form(_ANSWER, f"it has no column '{missing[0]}'")
                return {column: place[column] for column in needed}
        raise other_form(_ANSWER, "it has no line with the names of the columns")

    def _take(self, row: list[str]) -> None:
        of_term, lease, option, offering = (row[self._place[each]] for each in _TERM_COLUMNS)
        term = _TERMS.get((of_term, lease, option, offering))
        name, region = row[self._place["instance type"]], row[self._place["region code"]]
        if term is None or region != self._region or name in self._skipped:
            return
        currency = row[self._place["currency"]]
        if currency != "USD":
            raise not_in_usd(f"the AWS prices of {region}", currency)
        if name not in self.hardware:
            hardware = self._hardware(row, name)
            if hardware is None:
                self._skipped.add(name)
                return
            self.hardware[name] = hardware
        sku_id, price = row[self._place["sku"]], row[self._place["priceperunit"]]
        self.quotes.add((name, term), _number(price), sku_id)

    def _hardware(self, row: list[str], name: str) -> MachineHardware | None:
        """None: the instance is not wanted, or there is a refusal that says why."""
        is_named = name in self._names
        if not is_named and not is_wanted_on_aws(name):
            return None
        gpus = row[self._place["gpu"]]
        try:
            if gpus not in {"", "NA"} and not gpus.isdigit():
                raise ValueError(f"it has a part of a GPU ({gpus})")
            gpu_count = int(gpus) if gpus.isdigit() else 0
            vcpus = _figure(row[self._place["vcpu"]], "number of vCPUs")
            memory_gib = _figure(row[self._place["memory"]].removesuffix(" GiB"), "memory")
            hardware = aws(name, int(vcpus), memory_gib, gpu_count)
            if hardware is None and is_named:
                raise ValueError("gpubench does not know its accelerators")
        except ValueError as error:
            self.refusals.append(Refusal(name, "on-demand", None, str(error), is_final=True))
            return None
        return hardware


def _figure(text: str, what: str) -> float:
    """A figure of the hardware. Raises ValueError, with a message for users, for another text."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise ValueError(f"its {what} is '{text[:40]}' in the price list") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise other_form(_ANSWER, f"'{text[:40]}' is not a number") from None
