"""The checkpoint database: one transaction for each checkpoint, durable when it returns."""

import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from headrace_client.errors import ClientError

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 5.0


class CheckpointError(ClientError):
    """The checkpoint cannot be read or written; the message says what to do."""


class CheckpointStore:
    """Keeps the last checkpoint of a job, as plain JSON values.

    What others wrote through ``connection`` since the last checkpoint is committed with the next
    one, or not at all. Whoever uses ``connection`` holds ``lock``. Each call raises
    ``CheckpointError`` if the database cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = threading.Lock()
        try:
            self._database = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise self._explained(error) from None

    @property
    def connection(self) -> sqlite3.Connection:
        return self._database

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint; ``None`` if there is none yet."""
        try:
            row = self._database.execute("SELECT body FROM checkpoint").fetchone()
        except sqlite3.Error as error:
            raise self._explained(error) from None
        if row is None:
            return None
        body: dict[str, Any] = orjson.loads(row[0])
        return body

    def save(
        self, body: Mapping[str, Any], latest: Callable[[], Mapping[str, Any]] | None = None
    ) -> None:
        """Replace the checkpoint; returns when it is on the disk.

        Args:
            body: JSON values.
            latest: Called with the lock held, for values that belong to what others wrote through
                ``connection`` up to this moment.
        """
        try:
            with self.lock:
                values = {**body, **(latest() if latest else {})}
                content = orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS)
                if not self._database.in_transaction:
                    self._database.execute("BEGIN")
                self._database.execute(
                    "INSERT OR REPLACE INTO checkpoint (id, body) VALUES (1, ?)", (content,)
                )
                self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explained(error) from None

    def end(self, body: Mapping[str, Any]) -> None:
        """Replace the checkpoint by the last one, and drop what others wrote."""
        try:
            with self.lock:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                self._database.execute("BEGIN")
                tables = self._database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'checkpoint'"
                ).fetchall()
                for (name,) in tables:
                    self._database.execute(f'DROP TABLE "{name}"')
                self._database.execute(
                    "INSERT OR REPLACE INTO checkpoint (id, body) VALUES (1, ?)",
                    (orjson.dumps(dict(body)),),
                )
                self._database.execute("COMMIT")
                self._database.execute("VACUUM")
        except sqlite3.Error as error:
            raise self._explained(error) from None

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in {0, SCHEMA_VERSION}:
            raise CheckpointError(
                f"{self._path} is of another release of headrace-client: go on with that one, or "
                "begin anew with --restart"
            )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS checkpoint "
            "(id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL)"
        )
        self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _explained(self, error: sqlite3.Error) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: {error}. Free space on that disk, or mend the file system, and run the "
            "same command again: it goes on from the last checkpoint"
        )
