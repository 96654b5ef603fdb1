"""The folder beside OUT: lock, manifest and checkpoint of one job."""

import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace_client.bulk.job.state.checkpoints import CheckpointStore
from headrace_client.bulk.job.state.job_lock import JobLock
from headrace_client.bulk.job.state.manifest import (
    Manifest,
    check_same_job,
    read_manifest,
    write_manifest,
)
from headrace_client.errors import ClientError

LOCK = "lock"
MANIFEST = "manifest.json"
DATABASE = "state.sqlite"
_RANDOM_BYTES = 5


class JobFolder:
    """Opens a job's folder as a context manager, and holds its lock meanwhile.

    Entering raises ``JobLockedError``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(JobLock(self.path / LOCK))
        except OSError as error:
            raise ClientError(
                f"{self.path}: cannot keep the job's state there ({error.strerror}); name another "
                "place with --state-dir"
            ) from None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Forget whatever job was here."""
        # First: a job that has a manifest has its checkpoint too.
        (self.path / MANIFEST).unlink(missing_ok=True)
        for each in self.path.iterdir():
            if each.name == LOCK:
                continue
            if each.is_dir():
                shutil.rmtree(each)
            else:
                each.unlink()

    def manifest(self) -> Manifest | None:
        return read_manifest(self.path / MANIFEST)

    def begin(
        self,
        name: str,
        fingerprint: Mapping[str, Any],
        inputs: tuple[Mapping[str, Any], ...],
        now_ms: int,
    ) -> Manifest:
        """Write the manifest of a new job, whose id begins with ``name``."""
        manifest = Manifest(
            job=f"{name}-{secrets.token_hex(_RANDOM_BYTES)}",
            created_at_ms=now_ms,
            fingerprint=fingerprint,
            inputs=inputs,
        )
        write_manifest(self.path / MANIFEST, manifest)
        return manifest

    def go_on(
        self,
        found: Manifest,
        fingerprint: Mapping[str, Any],
        inputs: tuple[Mapping[str, Any], ...],
    ) -> Manifest:
        """Note the input as it is now; raises ``ManifestError`` if ``found`` is another job."""
        check_same_job(found, fingerprint, self.path)
        if found.inputs == inputs:
            return found
        manifest = replace(found, inputs=inputs)
        write_manifest(self.path / MANIFEST, manifest)
        return manifest

    def open_store(self) -> CheckpointStore:
        return self._stack.enter_context(CheckpointStore(self.path / DATABASE))
