"""The record that a worker keeps in the directory: since when it works, and why it ended."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from gpubench.errors import GpubenchError, InputError, one_line
from gpubench.launch import health
from gpubench.launch.files import SCHEMA, Ending, LaunchFiles, WorkerRecord, now
from gpubench.launch.manifest import Manifest
from gpubench.measure.progress import Progress
from gpubench.results.result import Result

if TYPE_CHECKING:
    from types import TracebackType

    from gpubench.launch.worker import WorkerOutcome

_EVERY_S = 60.0


class KeptRecord(Progress):
    """Written at the beginning, after each measurement, every minute, and at the end.

    A failure to write it does not end the worker: results matter more. Use it as a context manager.
    """

    def __init__(
        self, files: LaunchFiles, manifest: Manifest, instance: str | None, index: int | None
    ) -> None:
        self._files = files
        self._identifier = secrets.token_hex(6)
        self._began = time.monotonic()
        self._record = WorkerRecord(
            schema_number=SCHEMA,
            launch=manifest.name,
            instance=instance,
            index=index,
            host=socket.gethostname(),
            pid=os.getpid(),
            usd_per_hour=manifest.price_of(instance),
            spot=manifest.spot,
            began=now(),
            last_seen=now(),
            seconds=0.0,
        )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if isinstance(error, InputError):
            self._end("refused", one_line(error))
        elif isinstance(error, (GpubenchError, OSError)):
            self._end("failed", one_line(error))
        elif error is not None:  # Ctrl-C, or SIGTERM
            self._end("interrupted", None)

    @property
    def counts(self) -> tuple[int, int]:
        """Measurements of this worker: without and with an error."""
        return self._record.measured, self._record.failed

    def measured(self, result: Result) -> None:
        if result.error is not None and result.error.is_interruption:
            return
        failed = result.error is not None
        with self._lock:
            self._record = self._record.model_copy(
                update={
                    "measured": self._record.measured + (not failed),
                    "failed": self._record.failed + failed,
                }
            )

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self._write()

    def end(self, outcome: WorkerOutcome) -> None:
        """The worker ends without an exception."""
        if outcome.out_of_time:
            self._end("time-limit", None)
        elif outcome.interrupted:
            self._end("interrupted", None)
        else:
            self._end("finished", None)

    def _end(self, ended: Ending, message: str | None) -> None:
        self._write({"ended": ended, "message": message})

    def _keep_writing(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._write()

    def _write(self, changes: dict[str, object] | None = None) -> None:
        with self._lock, suppress(GpubenchError):
            self._record = self._record.model_copy(
                update={
                    "last_seen": now(),
                    "seconds": time.monotonic() - self._began,
                    **(changes or {}),
                }
            )
            self._files.write_worker(self._identifier, self._record)
            health.renew()
