"""`gpubench launch cancel`: end the machines of a launch."""

from __future__ import annotations

import click

from gpubench.cli.completion import FolderParam
from gpubench.cli.launch_status import launch_option
from gpubench.cli.program import FAILED, fail
from gpubench.cli.sections import Command
from gpubench.cli.settings import tell
from gpubench.errors import InputError


@click.command("cancel", cls=Command)
@click.argument("url", type=FolderParam())
@launch_option
def command(url: str, launch: str | None) -> int:
    """Ask the service to end everything that a launch has submitted.

    What is measured stays in the directory URL. A worker that is asked to end keeps what it has
    measured of the cell in work.

    \b
    Example:
      gpubench launch cancel s3://bucket/run
    """
    from gpubench.launch.files import LaunchFiles
    from gpubench.launch.services.known import service_class

    manifest = LaunchFiles(url).manifest(launch)
    if not manifest.submissions:
        raise InputError(
            f"launch '{manifest.name}' was not submitted by gpubench; end its machines with the "
            "tools of their service"
        )
    failures = 0
    for submission in manifest.submissions:
        try:  # one that fails keeps none of the others running
            service_class(submission.service).cancel(submission)
            tell(f"{submission.service} {submission.id} is asked to end")
        except InputError as error:
            failures += 1
            fail(f"{submission.service} {submission.id} is not ended: {error}", FAILED)
    return FAILED if failures else 0
