"""`gpubench prices`: the bundled catalog of instances."""

from __future__ import annotations

import click

from gpubench.cli._group import CommandGroup


@click.group("prices", cls=CommandGroup)
def command() -> None:
    """Look up what cloud instances cost."""


@command.command("list")
@click.option("--provider", help="Only this cloud: aws, azure or gcp.")
@click.option("--accelerator", help='Only this model, for example A10G, T4 or "A100 80GB".')
def list_prices(provider: str | None, accelerator: str | None) -> None:
    """List instances with their hardware and the price of an hour."""
    from gpubench.pricing import bundled_catalog
    from gpubench.report import terminal
    from gpubench.report.prices import price_list

    terminal.show([price_list(bundled_catalog().select(provider, accelerator))])


@command.command("show")
@click.argument("name")
def show_price(name: str) -> None:
    """Show all that is known of the instance NAME."""
    from gpubench.pricing import bundled_catalog
    from gpubench.report.prices import instance_facts

    for label, value in instance_facts(bundled_catalog().find(name)):
        print(f"{label:<15} {value}")
