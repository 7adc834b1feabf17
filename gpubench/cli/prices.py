"""`gpubench prices`: the bundled catalog of instances."""

from __future__ import annotations

import itertools

import click

from gpubench.cli import prices_refresh
from gpubench.cli.command_group import CommandGroup
from gpubench.cli.completion import Known, accelerators, instances, providers
from gpubench.cli.options import split_names


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
    "--accelerator",
    metavar="NAME",
    type=Known(accelerators),
    help='Only this accelerator, or a list: T4,A10G or "A100 80GB".',
)
def list_prices(provider: str | None, accelerator: str | None) -> None:
    """List instances with their hardware and the price of an hour.

    \b
    Example:
      gpubench prices list --provider aws --accelerator T4,A10G
    """
    from gpubench.pricing import bundled_catalog
    from gpubench.report import terminal
    from gpubench.report.prices import price_list

    providers = split_names((provider,)) if provider else (None,)
    accelerators = split_names((accelerator,)) if accelerator else (None,)
    chosen = (
        bundled_catalog().select(*both) for both in itertools.product(providers, accelerators)
    )
    found = dict.fromkeys(instance for instances in chosen for instance in instances)
    terminal.show([price_list(found)])


@command.command("show")
@click.argument("name", type=Known(instances))
def show_price(name: str) -> None:
    """Show all that is known of the instance NAME.

    \b
    Example:
      gpubench prices show g5.xlarge
    """
    from gpubench.pricing import bundled_catalog
    from gpubench.report.prices import instance_facts

    for label, value in instance_facts(bundled_catalog().find(name)):
        print(f"{label:<15} {value}")


command.add_command(prices_refresh.command)
