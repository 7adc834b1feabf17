"""Launches a sweep with a service: shows the estimate, then prints or submits."""

from __future__ import annotations

import shlex

from gpubench.cli.launch_options import AskedLaunch
from gpubench.cli.output import emit
from gpubench.cli.settings import tell
from gpubench.errors import GpubenchError, InputError
from gpubench.launch.files import LaunchFiles
from gpubench.launch.manifest import Manifest
from gpubench.launch.prepare import PreparedLaunch, prepare
from gpubench.launch.services.service import Launch, LaunchService
from gpubench.launch.tables import estimate_lines


def launch_with(service: LaunchService, asked: AskedLaunch) -> int:
    """The estimate goes to stderr, and what the service needs, or what was submitted, to stdout."""
    prepared = prepare(asked.grids, asked.output, asked.wishes)
    for line in estimate_lines(prepared):
        tell(line)
    launch = prepared.launch
    if launch is None:
        return 0
    _tell_needs(prepared, launch)
    service.check(launch)
    files = LaunchFiles(asked.output)
    if asked.write or asked.submit:
        files.write_manifest(launch.manifest)
    if not asked.submit:
        emit(service.render(launch), None)
        tell(
            f"nothing was started. The manifest of launch {launch.manifest.name} is in {files.url}"
            if asked.write
            else "nothing was started or written; add --submit, or --write to start what is "
            "printed by hand"
        )
        return 0
    _submit(service, launch, files)
    return 0


def _submit(service: LaunchService, launch: Launch, files: LaunchFiles) -> None:
    """Each submission is told and stored before the next one is made.

    Raises GpubenchError if a fleet cannot be submitted after others were, or cannot be stored.
    """
    manifest: Manifest = launch.manifest
    for fleet in launch.fleets:
        try:
            submitted = service.submit(launch, fleet)
        except InputError as error:
            if not manifest.submissions:
                raise
            raise GpubenchError(
                f"{error}; what was submitted before runs on: see gpubench launch cancel "
                f"{files.url} --launch {manifest.name}"
            ) from error
        emit(f"{submitted.service} {submitted.id}\n", None)
        manifest = manifest.model_copy(update={"submissions": (*manifest.submissions, submitted)})
        try:
            files.write_manifest(manifest, replace=True)
        except InputError as error:
            raise GpubenchError(
                f"{error}; {submitted.service} {submitted.id} runs and gpubench launch cancel does "
                "not know it, so end it with the tools of its service"
            ) from error
    url, name = shlex.quote(files.url), manifest.name
    tell(f"launch {name} is submitted; see gpubench launch status {url} --launch {name}")


def _tell_needs(prepared: PreparedLaunch, launch: Launch) -> None:
    """What cannot be checked here."""
    if prepared.files:
        tell(f"the machines need these files under the same names: {', '.join(prepared.files)}")
    if launch.allow_code:
        tell("--allow-code: the workers may run the code that this sweep names")
