"""The jobs topic, folded: the newest word on each job, and what it was told. Pure."""

from dataclasses import dataclass
from typing import TypeVar

from headrace_client.registry.announcements import (
    COMMAND_SUFFIX,
    Action,
    Announcement,
    Command,
    UnreadableJobError,
)

Record = TypeVar("Record", Announcement, Command)

SILENT_AFTER_MS = 30_000
"""A runner announces its job every 5 s."""
FORGOTTEN_AFTER_MS = 7 * 24 * 3_600_000
"""A job of which nothing was heard for so long is taken out of the registry."""


@dataclass(frozen=True, slots=True)
class JobStanding:
    """The newest announcement of a job, and the newest command to its runner, if it has one."""

    announcement: Announcement
    command: Command | None = None

    @property
    def is_cancelling(self) -> bool:
        return (
            self.command is not None
            and self.command.action is Action.CANCEL
            and not self.announcement.is_finished
        )

    def silent_since_ms(self, now_ms: int) -> int | None:
        """Return since when its runner has been silent, if it should not be."""
        at_ms = self.announcement.updated_at_ms
        if not self.announcement.is_running:
            return None
        return at_ms if now_ms - at_ms > SILENT_AFTER_MS else None

    def is_forgotten(self, now_ms: int) -> bool:
        return now_ms - self.announcement.updated_at_ms > FORGOTTEN_AFTER_MS


class Registry:
    """The jobs topic as read so far; the newest record of a key counts.

    ``unreadable_records`` are passed over: a newer release may have written them, or anybody.
    """

    def __init__(self) -> None:
        self._announcements: dict[str, Announcement] = {}
        self._commands: dict[str, Command] = {}
        self.unreadable_records = 0

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record, in the topic's order; without a value it forgets the key."""
        try:
            name = (key or b"").decode()
            is_command = name.encode().endswith(COMMAND_SUFFIX)
            job = name[: -len(COMMAND_SUFFIX)] if is_command else name
            if value is None:
                forgotten: dict[str, Announcement] | dict[str, Command]
                forgotten = self._commands if is_command else self._announcements
                forgotten.pop(job, None)
            elif is_command:
                self._commands[job] = _of_job(Command.decode(value), job)
            else:
                self._announcements[job] = _of_job(Announcement.decode(value), job)
        except (UnreadableJobError, UnicodeDecodeError):
            self.unreadable_records += 1

    def command_of(self, job: str) -> Command | None:
        return self._commands.get(job)

    def job(self, name: str) -> JobStanding | None:
        announcement = self._announcements.get(name)
        if announcement is None:
            return None
        return JobStanding(announcement, self._commands.get(name))

    def jobs(self) -> list[JobStanding]:
        """Return all jobs, those that began last first."""
        return sorted(
            (
                JobStanding(each, self._commands.get(name))
                for name, each in self._announcements.items()
            ),
            key=lambda each: (-each.announcement.started_at_ms, each.announcement.job),
        )

    def keys_to_forget(self, now_ms: int) -> list[bytes]:
        """Return the keys of jobs of which nothing was heard for seven days, to be tombstoned."""
        keys = []
        for name, announcement in self._announcements.items():
            if JobStanding(announcement).is_forgotten(now_ms):
                keys.append(announcement.key)
                if name in self._commands:
                    keys.append(self._commands[name].key)
        for name, command in self._commands.items():
            if name not in self._announcements and now_ms - command.at_ms > FORGOTTEN_AFTER_MS:
                keys.append(command.key)
        return keys


def _of_job(record: Record, job: str) -> Record:
    if record.job != job:
        raise UnreadableJobError(f"the key names job {job!r}, the value {record.job!r}")
    return record
