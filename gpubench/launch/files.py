"""The files of launches in a run directory. Their names begin with a dot, so no report reads them.

    .launch-<name>.json               the manifest of a launch, and what was submitted
    .worker-<id>.json                 one for each start of a worker: see `WorkerRecord`
    .job-<digest>-<machine>.json      the names of the documents of a job: see `ResolvedJob`

Other people may have written them, so they are read with limits and checked with their schemas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from gpubench.errors import GpubenchError, InputError, cause
from gpubench.files.folder import Folder, open_folder
from gpubench.files.untrusted import parse_json
from gpubench.launch.manifest import NAME, Manifest

SCHEMA = 1
_MOST_BYTES = 64 << 20  # a manifest of 10,000 cells with every setting given has 10 MB
_MOST_VALUES = 2_000_000
_READERS = 16  # requests to an object store at the same time

Ending = Literal["finished", "failed", "interrupted", "time-limit", "refused"]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WorkerRecord(_File):
    """One start of a worker. The worker writes it after each cell and every minute."""

    schema_number: int
    launch: str
    instance: str | None
    index: int | None  # its number among the machines of its fleet; None: it takes free jobs
    host: str
    pid: int
    usd_per_hour: float | None
    spot: bool
    began: AwareDatetime  # by the clock of its machine
    last_seen: AwareDatetime
    seconds: float  # from its beginning until it was last seen, without changes of the clock
    measured: int = 0  # measurements that it made
    failed: int = 0
    ended: Ending | None = None  # None: it runs, or it was lost
    message: str | None = None  # why it ended, if it did not finish


class ResolvedCell(_File):
    """What a machine made of a cell of a job."""

    key: str | None  # of its document; None: this machine does not measure it
    reason: str | None = None  # why not
    left_out: bool = False  # the sweep says that it is left out where it cannot be measured


class ResolvedJob(_File):
    """The cells of a job on one kind of machine, in the order of the manifest."""

    schema_number: int
    cells: tuple[ResolvedCell, ...]


LaunchFile = TypeVar("LaunchFile", bound=BaseModel)


class LaunchFiles:
    """Reads and writes these files. Reading raises InputError, and writing GpubenchError."""

    def __init__(self, url: str) -> None:
        """Raises InputError for a URL that cannot be used from here."""
        self._folder: Folder = open_folder(url)
        self.url = self._folder.url

    def names(self) -> list[str]:
        """The names of all files in the directory; none if there is no directory."""
        try:
            return self._folder.names()
        except FileNotFoundError:
            return []
        except Exception as error:  # object stores have exceptions of their own
            raise InputError(f"{self.url} cannot be read: {cause(error)}") from None

    def launches(self) -> list[str]:
        """The names of the launches in this directory."""
        return [
            name.removeprefix(".launch-").removesuffix(".json")
            for name in self.names()
            if name.startswith(".launch-") and name.endswith(".json")
        ]

    def manifest(self, name: str | None) -> Manifest:
        """The manifest of a launch. None: the only one. Raises InputError if that is not clear."""
        known = self.launches()
        if name is None and len(known) == 1:
            name = known[0]
        if name not in known:
            asked = "" if name is None else f" '{name}'"
            if not known:
                raise InputError(
                    f"{self.url} has no launch{asked}; write one with gpubench launch SERVICE "
                    f"FILE --output {self.url} --submit (or --write)"
                )
            have = f"{self.url} has {', '.join(known[:8])}"
            raise InputError(
                f"{have}; choose one with --launch NAME"
                if name is None
                else f"no launch '{name}'; {have}"
            )
        found = self._read(f".launch-{name}.json", Manifest)
        if found.name != name:
            raise InputError(
                f"{self.url}/.launch-{name}.json is the manifest of '{found.name}'; launch again"
            )
        return found

    def write_manifest(self, manifest: Manifest, replace: bool = False) -> None:
        """Create the directory and the manifest. With `replace`, an existing one is replaced.

        Raises InputError if a launch of this name exists, or if the directory cannot be written.
        """
        assert NAME.fullmatch(manifest.name)
        name = f".launch-{manifest.name}.json"
        try:
            self._folder.create()
            self._folder.write(name, _json(manifest), replace)
        except FileExistsError:
            raise InputError(
                f"{self.url} has a launch '{manifest.name}' already; choose another --name"
            ) from None
        except Exception as error:
            raise InputError(
                f"{self.url} cannot be written: {cause(error)}; choose another --output"
            ) from None

    def workers(self, launch: str) -> dict[str, WorkerRecord]:
        """The records of the workers of a launch, by their ids."""
        names = [each for each in self.names() if each.startswith(".worker-")]
        records = self._read_each(names, WorkerRecord)
        return {
            name.removeprefix(".worker-").removesuffix(".json"): record
            for name, record in records.items()
            if record.launch == launch
        }

    def write_worker(self, identifier: str, record: WorkerRecord) -> None:
        self._write(f".worker-{identifier}.json", record)

    def resolved(self, digests: Iterable[str]) -> dict[str, list[ResolvedJob]]:
        """What machines made of the jobs with these digests, with an entry for each machine."""
        wanted = {digest: [] for digest in digests}  # type: dict[str, list[ResolvedJob]]
        names = [
            each
            for each in self.names()
            if each.startswith(".job-") and each[len(".job-") :].partition("-")[0] in wanted
        ]
        for name, job in self._read_each(names, ResolvedJob).items():
            wanted[name[len(".job-") :].partition("-")[0]].append(job)
        return wanted

    def write_resolved(self, digest: str, machine: str, job: ResolvedJob) -> None:
        """`machine` is the identity of the machine that has resolved the job."""
        named = hashlib.sha256(machine.encode()).hexdigest()[:8]
        self._write(f".job-{digest}-{named}.json", job)

    def _read_each(self, names: list[str], kind: type[LaunchFile]) -> dict[str, LaunchFile]:
        """Several files. Those that were removed or that are damaged are left out."""

        def read(name: str) -> LaunchFile | None:
            try:
                return self._read(name, kind)
            except InputError:
                return None

        return {
            name: file for name, file in zip(names, in_parallel(read, names), strict=True) if file
        }

    def _read(self, name: str, kind: type[LaunchFile]) -> LaunchFile:
        origin = f"{self.url}/{name}"
        try:
            text = self._folder.read(name, _MOST_BYTES).decode()
        except UnicodeDecodeError:
            raise InputError(f"{origin} is not text; launch again") from None
        except Exception as error:
            raise InputError(f"{origin} cannot be read: {cause(error)}") from None
        document = parse_json(text, origin, _MOST_VALUES)
        number = document.get("schema_number") if isinstance(document, dict) else None
        if number != SCHEMA:
            raise InputError(
                f"{origin}: its schema_number is {number!r}, and this version of gpubench reads "
                f"{SCHEMA}; use the version that wrote it"
            )
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"{origin}: {place}: {first['msg']}; launch again") from None

    def _write(self, name: str, file: WorkerRecord | ResolvedJob) -> None:
        try:
            self._folder.write(name, _json(file))
        except Exception as error:
            raise GpubenchError(f"{self.url} cannot be written: {cause(error)}") from error


Item = TypeVar("Item")
Returned = TypeVar("Returned")


def in_parallel(function: Callable[[Item], Returned], items: Iterable[Item]) -> list[Returned]:
    """The answer for each item, in order. Several requests are in flight at once."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(function, items))


def now() -> datetime:
    """UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _json(file: BaseModel) -> bytes:
    """What was not given stays absent, so that a Spec keeps which settings were asked for."""
    return file.model_dump_json(exclude_unset=True).encode()
