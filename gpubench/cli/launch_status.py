"""`gpubench launch status`: what is measured, and the bill."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from gpubench.cli.completion import FolderParam
from gpubench.cli.options import json_file, json_option
from gpubench.cli.output import emit_tables, write_result
from gpubench.cli.sections import Command
from gpubench.cli.settings import tell
from gpubench.report.format import count

if TYPE_CHECKING:
    from gpubench.launch.status import LaunchStatus

_EVERY_S = 30.0

launch_option = click.option(
    "--launch", metavar="NAME", help="Which launch. [default: the only one in the directory]"
)


@click.command("status", cls=Command)
@click.argument("url", type=FolderParam())
@launch_option
@click.option(
    "--watch", is_flag=True, help="Say what has changed, every 30 seconds, until it is complete."
)
@json_option("the status")
def command(url: str, launch: str | None, watch: bool, json_path: str | None) -> int:
    """Show what is measured of a launch, its workers and its bill.

    It is counted from the documents in the directory URL. The service is not asked.

    \b
    Example:
      gpubench launch status s3://bucket/run --watch
    """
    from gpubench.launch.status import launch_status
    from gpubench.launch.tables import status_tables

    json_output = json_file(json_path)
    status = launch_status(url, launch)
    before = ""
    while watch and not status.complete:
        if (line := _line(status)) != before:
            tell(line)
        before = line
        time.sleep(_EVERY_S)
        status = launch_status(url, status.name)
    text = json.dumps(_document(status), indent=2) + "\n"
    write_result(text, json_path, json_output, lambda: emit_tables(status_tables(status), None))
    return 0


def _line(status: LaunchStatus) -> str:
    parts = []
    for each in status.instances:
        done = each.counts.measured + each.counts.failed + each.counts.impossible.total()
        parts.append(
            f"{each.instance or 'any machine'}: {done:,} of {each.counts.wanted:,}, "
            f"{count(each.running, 'worker')}"
        )
    return "; ".join(parts)


def _document(status: LaunchStatus) -> dict[str, object]:
    return {
        "launch": status.name,
        "created": status.created,
        "complete": status.complete,
        "spot": status.spot,
        "max_usd": status.max_usd,
        "usd": status.usd,
        "instances": [
            {
                "instance": each.instance,
                "wanted": each.counts.wanted,
                "measured": each.counts.measured,
                "failed": each.counts.failed,
                "missing": each.counts.missing,
                "left_out": each.counts.left_out,
                "impossible": dict(each.counts.impossible),
                "workers": each.workers,
                "running": each.running,
                "seconds": each.seconds,
                "usd": each.usd,
            }
            for each in status.instances
        ],
        "workers": [
            {"id": identifier, **record.model_dump(mode="json", exclude={"schema_number"})}
            for identifier, record in status.workers.items()
        ],
        "submissions": [each.model_dump() for each in status.submissions],
    }
