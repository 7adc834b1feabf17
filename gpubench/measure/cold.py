"""Measures cold starts: the same configuration, started again and again in fresh processes.

Spec -> resolved settings -> first start (not measured) -> starts -> figures -> costs

This process does not import torch, and it does not run the model: the page cache cannot drop a
library that a running process uses. docs/cold.md defines what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import IO, Any, Literal

from gpubench.cells.resolve import cell_of
from gpubench.errors import GpubenchError, InputError, reason_in
from gpubench.measure.progress import Progress
from gpubench.models.local_files import changed_since
from gpubench.pricing.cost import check_prices
from gpubench.pricing.start_cost import with_costs
from gpubench.results.cold_result import (
    NOT_DROPPED,
    UNKNOWN,
    BuildCache,
    ColdResult,
    ColdStart,
    ContainerImage,
    PageCache,
    StartSeconds,
)
from gpubench.results.result import EngineInfo, Environment, Failure
from gpubench.results.run_directory import RunDirectory, cold_name, open_run
from gpubench.spec.cpus import parse_cpus
from gpubench.spec.repetition import MOST_REPEATS
from gpubench.spec.spec import Spec
from gpubench.statistics.cold_starts import figures_of, settled_after, unsettled_note
from gpubench.system.device_locks import locked_devices
from gpubench.system.machine import this_machine
from gpubench.system.page_cache import DroppedFiles, drop

DEFAULT_REPEATS = 20
# A start that takes longer counts as hung. Some runtimes build for many minutes.
_DEADLINE_S = 3600.0
# The page cache counts as dropped if at most this share of the files is left in it. Pages that this
# process uses itself (Python and its libraries) always are.
_MOST_LEFT = 0.1
# If the kernel does not tell this user what is in the cache: the start must have read at least this
# share of the files from storage. A process reads only parts of most libraries.
_LEAST_READ = 0.1

_COMMAND = (sys.executable, "-P", "-m", "gpubench.measure.cold_child")


@dataclass(frozen=True)
class ColdOptions:
    """What kind of starts, and how many of each."""

    repeats: int = DEFAULT_REPEATS
    page_cache: Literal["warm", "cold", "both"] = "warm"
    build_cache: BuildCache = "keep"
    image: ContainerImage | None = None  # None: the size of the container image was not told

    @property
    def states(self) -> tuple[PageCache, ...]:
        return ("warm", "cold") if self.page_cache == "both" else (self.page_cache,)


class ColdInterrupted(KeyboardInterrupt):
    """Ctrl-C during cold starts. `result` holds the starts that were complete before it."""

    def __init__(self, result: ColdResult) -> None:
        super().__init__("interrupted")
        self.result = result


def cold(
    spec: Spec,
    options: ColdOptions | None = None,
    output: str | None = None,
    progress: Progress | None = None,
) -> ColdResult:
    """Measure cold starts of `spec`.

    Each start is stored in the run directory `output`, if one is given. Starts that it already
    holds count, unless they failed. The settings of `spec` about load, window and workers have no
    influence.

    Raises InputError before the first start if the settings cannot be measured here, if the
    directory cannot be written, or if it holds starts of other software or of an older model file.
    On Ctrl-C it raises ColdInterrupted, with the starts until then.
    """
    options, progress = options or ColdOptions(), progress or Progress()
    if not 1 <= options.repeats <= MOST_REPEATS:
        raise InputError(f"--repeats {options.repeats} is not allowed; give 1 to {MOST_REPEATS}")
    if spec.trains:
        raise InputError("--task train: cold starts are those of inferences; remove it")
    if spec.synthetic:
        raise InputError(
            "--model synthetic: it has no weights and no engine, so nothing starts; give a model"
        )
    check_prices(spec.instance)
    directory = None if output is None else open_run(output)
    settings, here = _resolved(spec)
    resolved = Spec.model_validate(settings)
    key = _key(resolved, options.build_cache)
    with ExitStack() as stack:
        result = ColdResult(spec=resolved, environment=here, build_cache=options.build_cache)
        if directory is not None:
            stack.enter_context(directory.locked())
            directory.check_writable()
            result = _continued(result, directory, key)

        def keep(changed: ColdResult) -> ColdResult:
            figures = figures_of(changed.starts)
            changed = with_costs(changed.model_copy(update={"figures": figures}))
            if directory is not None:
                directory.write_cold(key, changed)
            return changed

        image = options.image or result.image
        result = with_costs(result.model_copy(update={"spec": resolved, "image": image}))
        return _measure(result, settings, options, keep, progress)


def _key(spec: Spec, build_cache: BuildCache) -> str:
    """The name of the document. The state of the page cache belongs to each start, not to it."""
    text = json.dumps([spec.key(this_machine().identity), build_cache])
    return cold_name(hashlib.sha256(text.encode()).hexdigest()[:16])


def _resolved(spec: Spec) -> tuple[dict[str, Any], Environment]:
    """(the settings with all defaults filled in, the environment). Raises InputError."""
    task = {"resolve": True, "spec": _settings(spec), "list_files": False}
    child = _run(task, dict(os.environ))
    if problem := child.told.get("input_error"):
        raise InputError(problem)
    if "spec" not in child.told:
        raise GpubenchError(f"the settings cannot be read in a new process: {child.failure()}")
    settings: dict[str, Any] = child.told["spec"]
    if spec.allow_code:
        settings["allow_code"] = True
    return settings, Environment.model_validate(child.told["environment"])


def _settings(spec: Spec) -> dict[str, Any]:
    """The settings that were given. The document leaves out `allow_code`; a start needs it."""
    settings: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True)
    return {**settings, "allow_code": True} if spec.allow_code else settings


def _continued(new: ColdResult, directory: RunDirectory, key: str) -> ColdResult:
    """The stored document of the same configuration, or `new` if there is none.

    Raises InputError if its starts cannot be put together with new ones.
    """
    stored = directory.read_cold(key)
    if stored is None or not stored.starts:
        return new
    name = f"{directory.url}/{key}.json"
    before, now = (result.environment.model_dump(exclude={"time"}) for result in (stored, new))
    changed = [field for field in now if before.get(field) != now[field]]
    if changed:
        raise InputError(
            f"{name} was measured with another {', '.join(changed)}; choose another --output"
        )
    if file := changed_since(cell_of(new.spec), stored.environment.time):
        raise InputError(
            f"{file} was changed after the starts in {name} were measured; choose another --output"
        )
    return stored.model_copy(update={"error": None})


def _measure(
    result: ColdResult,
    settings: dict[str, Any],
    options: ColdOptions,
    keep: Callable[[ColdResult], ColdResult],
    progress: Progress,
) -> ColdResult:
    """Measure the starts that are missing, first the one that no figure contains."""
    missing = _missing(result.starts, options)
    progress.starts_planned(len(missing), len(result.starts))
    if not missing:
        return result
    try:
        progress.start_begins(0, len(missing), None)
        began = time.monotonic()
        with locked_devices(result.spec.devices, progress.waits):
            first, child = _start(settings, 0, UNKNOWN, options.build_cache, list_files=True)
        elapsed_s = [time.monotonic() - began]
        progress.start_ended(first, elapsed_s[0] * len(missing))
        update: dict[str, object] = {
            "first_start": result.first_start or first,  # an earlier one may have built the engine
            "error": first.error,
        }
        if first.error is None:
            update["engine"] = EngineInfo.model_validate(child.told["engine"])
        result = keep(result.model_copy(update=update))
        if first.error is not None:
            return result
        elapsed_s.clear()
        for number, state in enumerate(missing, 1):
            mean_s = sum(elapsed_s) / len(elapsed_s) if elapsed_s else None
            left_s = None if mean_s is None else mean_s * (len(missing) - number + 1)
            progress.start_begins(number, len(missing), left_s)
            began = time.monotonic()
            with locked_devices(result.spec.devices, progress.waits):
                dropped = drop(child.told["files"]) if state == "cold" else None
                start, _ = _start(
                    settings, len(result.starts) + 1, state, options.build_cache, dropped=dropped
                )
            result = keep(result.model_copy(update={"starts": [*result.starts, start]}))
            elapsed_s.append(time.monotonic() - began)
            progress.start_ended(start, None)
    except KeyboardInterrupt:
        raise ColdInterrupted(result) from None
    return result


def _missing(starts: Sequence[ColdStart], options: ColdOptions) -> list[PageCache]:
    """The state of the page cache for each start that is missing. The states take turns."""
    good = [start for start in starts if start.error is None]
    warm = sum(start.page_cache == "warm" for start in good)
    measured: dict[PageCache, int] = {"warm": warm, "cold": len(good) - warm}
    each = ([state] * (options.repeats - measured[state]) for state in options.states)
    return [state for turn in zip_longest(*each) for state in turn if state is not None]


def _start(
    settings: dict[str, Any],
    number: int,
    state: str,
    build_cache: BuildCache,
    *,
    list_files: bool = False,
    dropped: DroppedFiles | None = None,
) -> tuple[ColdStart, _Child]:
    """One start, and what its process told."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    cpus = settings.get("cpus")
    task = {
        "resolve": False,
        "spec": settings,
        "list_files": list_files,
        "cpus": None if cpus is None else parse_cpus(cpus),
    }
    with _environment(build_cache) as variables:
        child = _run(task, variables)
    page_cache = state if dropped is None else _page_cache(dropped, child.told.get("read_bytes"))
    return start_of(child, number, now, page_cache), child


def _page_cache(dropped: DroppedFiles, read_bytes: int | None) -> str:
    """Whether the page cache was dropped before a start: "cold", or "not dropped: ..."."""
    if dropped.before_bytes > dropped.unseen_bytes:
        left = dropped.left_bytes / dropped.before_bytes
        if left <= _MOST_LEFT:
            return "cold"
        return f"{NOT_DROPPED}: {left:.0%} of the files stayed in it"
    if read_bytes is None:
        return f"{NOT_DROPPED}: the kernel does not say what was read from storage"
    if read_bytes >= _LEAST_READ * dropped.unseen_bytes:
        return "cold"
    return f"{NOT_DROPPED}: the start read only {read_bytes / 1e6:,.0f} MB from storage"


@contextmanager
def _environment(build_cache: BuildCache) -> Iterator[dict[str, str]]:
    """The environment variables of a start."""
    variables = dict(os.environ)
    if build_cache == "keep":
        yield variables
        return
    variables.pop("TORCHINDUCTOR_CACHE_DIR", None)  # it would be used instead
    with tempfile.TemporaryDirectory(prefix="gpubench-", ignore_cleanup_errors=True) as folder:
        yield {**variables, "GPUBENCH_CACHE_DIR": folder}


@dataclass
class _Child:
    """What a process told its parent until it ended."""

    began_ns: int  # before the parent made it
    status: int | None  # exit status, or the negative number of a signal; None: it hung
    last_words: str  # the last line that it wrote to standard error or standard output
    stages: list[tuple[str, int]] = field(default_factory=list)  # (name, nanoseconds)
    stage: str = "interpreter"  # in which it was when it ended
    told: dict[str, Any] = field(default_factory=dict)

    def read(self, lines: bytes) -> None:
        for line in lines.splitlines():
            fields = json.loads(line)
            if "first_line_ns" in fields:
                self.stages.append(("interpreter", fields["first_line_ns"] - self.began_ns))
                self.stage = "imports"
            elif "stage" in fields:
                self.stages.append((fields["stage"], fields["ns"]))
                self.stages.append(("excluded", fields["excluded_ns"]))
                self.stage = fields["next"]
            else:
                self.told |= fields

    def failure(self) -> str | None:
        """Why it did not get to its end; None if it did."""
        if "error" in self.told:
            return str(self.told["error"])
        if "service_ns" in self.told:
            return None
        if self.status is None:
            return f"it did not end within {_DEADLINE_S / 60:g} minutes"
        if self.status < 0:
            name = signal.Signals(-self.status).name
            cause = "; the memory may be too small" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{cause}"
        words = reason_in(self.last_words) if self.last_words else "it said nothing"
        return f"the process ended with status {self.status}: {words}"


def _run(task: Mapping[str, object], variables: dict[str, str]) -> _Child:
    """Run a process until it ends. A KeyboardInterrupt ends it."""
    with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as said:
        command = [*_COMMAND, json.dumps({**task, "file": lines.fileno()})]
        began_ns = time.monotonic_ns()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=[lines.fileno()],
            env=variables,
        )
        status = None
        try:
            status = process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        child = _Child(began_ns, status, _last_line(said))
        lines.seek(0)
        child.read(lines.read())
        return child


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _stage_of_failure(stage: str, seconds: StartSeconds) -> str:
    """The stage in which a start failed. What is excluded from all stages has a name, too: it makes
    a request before the first inference, and measures the service time after it.
    """
    if stage != "excluded":
        return stage
    return "request" if seconds.first_inference is None else "settling"


def start_of(child: _Child, number: int, now: str, page_cache: str) -> ColdStart:
    """The start that a process told about."""
    spent: dict[str, float] = {}
    for name, stage_ns in child.stages:
        spent[name] = spent.get(name, 0.0) + stage_ns / 1e9
    excluded_s = spent.pop("excluded", None)
    failure = child.failure()
    start = ColdStart(
        number=number,
        time=now,
        page_cache=page_cache,
        seconds=StartSeconds.model_validate(spent),
        excluded_seconds=excluded_s,
        from_cache=child.told.get("from_cache"),
        read_bytes=child.told.get("read_bytes"),
        peak_host_bytes=child.told.get("peak_host_bytes"),
    )
    if failure is not None:
        start.error = Failure(stage=_stage_of_failure(child.stage, start.seconds), message=failure)
    start.ready_seconds = start.seconds.ready()
    first_s = start.seconds.first_inference
    if failure is None and first_s is not None:
        later_s = [each / 1e9 for each in child.told["service_ns"]]
        start.settled_after = settled_after([first_s, *later_s])
        if start.settled_after is None:
            start.settled_note = unsettled_note(1 + len(later_s))
        else:
            start.seconds.settling = sum(later_s[: start.settled_after - 1])
        start.total_seconds = start.seconds.total()
    return start
