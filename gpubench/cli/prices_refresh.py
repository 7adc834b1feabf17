"""`gpubench prices refresh`: current prices into the user's own price file."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gpubench.cli.completion import Known, instances
from gpubench.cli.options import split_names
from gpubench.cli.output import say, warn
from gpubench.cli.program import GATE_FAILED
from gpubench.cli.sections import Command

if TYPE_CHECKING:
    from gpubench.pricing.refresh import Judgement, ProviderAnswer


@click.command("refresh", cls=Command)
@click.option(
    "--provider", required=True, metavar="NAME", type=Known(("aws", "azure", "gcp")),
    help="Cloud: aws, azure or gcp.",
)  # fmt: skip
@click.option("--region", required=True, metavar="NAME", help="Region, for example us-east-1.")
@click.option(
    "--instance",
    "names",
    multiple=True,
    metavar="NAME",
    type=Known(instances),
    help="Change only this instance, or a list. Repeatable.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="NAME",
    help='Use prices of this instance, or a list, that are refused otherwise, or "all". '
    "Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change. Write nothing.")
@click.option(
    "--api-key",
    metavar="KEY",
    envvar="GPUBENCH_GCP_API_KEY",
    help="Key for Google's price catalog. Better in GPUBENCH_GCP_API_KEY, which `ps` cannot show.",
)
@click.option("--url", hidden=True, help="Address of the interface, for tests.")
def command(
    provider: str,
    region: str,
    names: tuple[str, ...],
    accept: tuple[str, ...],
    dry_run: bool,
    api_key: str | None,
    url: str | None,
) -> int | None:
    """Read current prices from a cloud into your own price file.

    It shows the prices that changed, and with --dry-run or --instance the new ones too. Prices that
    cannot be right are refused and listed with the reason. If one is, the exit status is 3.

    \b
    Example:
      gpubench prices refresh --provider aws --region us-east-1 --dry-run
    """
    from gpubench.errors import InputError
    from gpubench.pricing.names import PriceName, parse_price_name
    from gpubench.pricing.refresh import check_region, judge, read_prices, user_file

    only, accepted = split_names(names), split_names(accept)
    check_region(provider, region)
    for name in only:
        if parse_price_name(name) != PriceName(name):
            raise InputError(
                f"--instance {name}: write the name alone, without provider, region and term"
            )
    if only and (strange := [name for name in accepted if name not in {*only, "all"}]):
        raise InputError(
            f"--accept {strange[0]}: --instance does not name it; name it there too, or remove it"
        )
    path = user_file.path_of_user_file()
    user_file.read(path)  # a file that cannot be used is refused before anything is downloaded
    size = " (some hundred megabytes)" if provider == "aws" else ""
    say([f"reading the prices of {provider}, {region}{size}"])
    answer = read_prices(provider, region, only, datetime.now(UTC), api_key, url=url)
    warn(answer.notices)
    _check_answer(answer, provider, region, only)
    with nullcontext() if dry_run else user_file.locked(path):
        rows = user_file.read(path)
        prices = user_file.known_prices(rows, provider, region)
        by_hand = user_file.written_by_hand(rows, provider, region)
        judged = judge(answer, prices, accepted, only, by_hand)
        if not dry_run:
            refused_spot = {each.name for each in judged.refusals if each.term == "spot"}
            all_spot = {each.name for each in judged.instances}
            keep_spot = refused_spot if answer.has_spot else all_spot
            user_file.write(path, user_file.merged(rows, judged.instances, keep_spot))
    written = f"nothing was written to {path}" if dry_run else f"written to {path}"
    _show(judged, written, with_new=dry_run or bool(only))
    return GATE_FAILED if judged.refusals else None


def _check_answer(
    answer: ProviderAnswer, provider: str, region: str, only: tuple[str, ...]
) -> None:
    """Warns of instances in `only` that have no price. Raises GpubenchError if there is none."""
    from gpubench.errors import GpubenchError

    if not answer.instances:
        raise GpubenchError(
            f"{provider} has no usable price for {region}; no price was changed; check the name of "
            "the region"
        )
    known = {each.name for each in answer.instances} | {each.name for each in answer.refusals}
    unknown = [name for name in only if name not in known]
    if only and len(unknown) == len(only):
        raise GpubenchError(
            f"{provider} has no usable price of {', '.join(only)} in {region}; no price was "
            "changed; check the name and docs/prices.md for the instances that are read"
        )
    warn(f"{provider} has no usable price of {name} in {region}" for name in unknown)


def _show(judged: Judgement, written: str, with_new: bool) -> None:
    """The prices that changed, with `with_new` those that are new too, and those refused."""
    from gpubench.report import terminal
    from gpubench.report.format import count
    from gpubench.report.price_changes import changes, refusals

    changed = [each for each in judged.changes if each.old_usd_per_hour is not None]
    listed = judged.changes if with_new else changed
    shown = [changes(listed)] if listed else []
    shown += [refusals(judged.refusals)] if judged.refusals else []
    terminal.show(shown)
    print(
        f"{count(len(judged.instances), 'instance')} read; prices: {len(changed)} changed, "
        f"{len(judged.changes) - len(changed)} new, {len(judged.refusals)} refused; {written}"
    )
