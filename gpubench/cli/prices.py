"""`gpubench prices`: what is known of the prices of cloud instances."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import click

from gpubench.cli import prices_refresh
from gpubench.cli.command_group import CommandGroup
from gpubench.cli.completion import Known, accelerators, instances, providers, regions
from gpubench.cli.options import (
    check_output_file,
    chosen_format,
    format_option,
    output_option,
    prices_option,
    split_names,
)
from gpubench.cli.output import emit, emit_tables, warn
from gpubench.cli.streams import wrapped

# As gpubench.pricing.names.TERMS and gpubench.report.prices.SORTS, which a test checks. Neither is
# imported for the help of a command.
_TERMS = ("on-demand", "spot", "1-year", "3-year")
_SORTS = ("name", "provider", "region", "accelerator", "vcpus", "memory", "price", "usd-per-gpu")


@click.group("prices", cls=CommandGroup)
def command() -> None:
    """Look up what cloud instances cost."""


@command.command("list")
@click.option(
    "--provider",
    metavar="NAME",
    type=Known(providers),
    help="Only this cloud, or a list: aws, azure, gcp.",
)
@click.option(
    "--region", metavar="NAME", type=Known(regions), help="Only this region, or a list of them."
)
@click.option(
    "--accelerator",
    metavar="NAME",
    type=Known(accelerators),
    help='Only this accelerator, or a list: T4,A10G or "A100 80GB".',
)
@click.option(
    "--term",
    type=click.Choice(_TERMS),
    help="Only instances whose price with this term is known. --sort and --max-usd-per-hour use "
    "this price.  [default: on-demand]",
)
@click.option(
    "--max-usd-per-hour", type=float, metavar="X", help="Only instances that cost at most this."
)
@click.option(
    "--sort",
    type=click.Choice(_SORTS),
    help="Sort by this. [default: the order of the files, your own first]",
)
@format_option()
@output_option
@prices_option
def list_prices(
    provider: str | None,
    region: str | None,
    accelerator: str | None,
    term: str | None,
    max_usd_per_hour: float | None,
    sort: str | None,
    format_name: str | None,
    output: Path | None,
) -> None:
    """List instances with their hardware and the price of an hour.

    CSV has the columns of a file of prices: a changed copy can be given to --prices.

    \b
    Example:
      gpubench prices list --provider aws --accelerator T4,A10G --sort price
    """
    from gpubench.errors import InputError
    from gpubench.pricing import current_catalog
    from gpubench.pricing.names import parse_term
    from gpubench.report import markdown
    from gpubench.report import prices as tables
    from gpubench.report.page.page import page

    form = chosen_format(format_name, output)
    check_output_file(output)
    if max_usd_per_hour is not None and not max_usd_per_hour > 0:
        raise InputError(f"--max-usd-per-hour {max_usd_per_hour:g} must be above 0")
    catalog = current_catalog()
    chosen = (
        catalog.select(*names)
        for names in itertools.product(
            split_names((provider,)) if provider else (None,),
            split_names((accelerator,)) if accelerator else (None,),
            split_names((region,)) if region else (None,),
        )
    )
    found = list(dict.fromkeys(instance for instances in chosen for instance in instances))
    asked_term = parse_term(term or "on-demand")
    if term is not None or max_usd_per_hour is not None:
        found = tables.affordable(found, asked_term, max_usd_per_hour)
    if sort is not None:
        found = tables.in_order(found, sort, asked_term)
    table = tables.price_list(found, asked_term if sort == "usd-per-gpu" else None)
    if not found:
        warn(["no instance fits all that was asked for"])
    match form:
        case "markdown":
            emit(markdown.text([table]), output)
        case "html":
            emit(page("Prices of instances", [table]), output)
        case "csv":
            emit(tables.csv_text(found), output)
        case "json":
            emit(tables.json_text(found), output)
        case _:
            emit_tables([table], output)


@command.command("show")
@click.argument("name", type=Known(instances))
@prices_option
def show_price(name: str) -> None:
    """Show all that is known of the instance NAME, in each region.

    NAME may be PROVIDER/NAME@REGION, for one region.

    \b
    Example:
      gpubench prices show g5.xlarge
    """
    from gpubench.pricing import current_catalog
    from gpubench.pricing.names import parse_price_name
    from gpubench.report import escape
    from gpubench.report.prices import instance_facts

    catalog = current_catalog()
    asked = parse_price_name(name)
    rows = [catalog.find(name)] if asked.region else catalog.regions(name)
    for number, instance in enumerate(rows):
        if number:
            print()
        for label, value in instance_facts(instance):
            shown = wrapped(" " * 16 + escape.terminal(value), sys.stdout)
            print(f"{label:<15} {shown[16:]}")


command.add_command(prices_refresh.command)
