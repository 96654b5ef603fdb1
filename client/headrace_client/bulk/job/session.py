"""Runs the bulk command: finds out what is to be done, does it, and says how it ended."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from enum import IntEnum
from typing import Any

from headrace_client.bulk.job.deadlines import deadline_ms
from headrace_client.bulk.job.freeing import give_back_memory
from headrace_client.bulk.job.local import StartsLocalService, find_local_service
from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.job.plan import OptionsError, Plan, make_plan
from headrace_client.bulk.job.progress.display import Display
from headrace_client.bulk.job.progress.report import duration
from headrace_client.bulk.job.round_runner import Outcome, RoundRunner
from headrace_client.bulk.job.rounds import Ended, Round, next_round, round_of
from headrace_client.bulk.job.service import Service, find_service, service_of
from headrace_client.bulk.job.state.checkpoints import CheckpointStore
from headrace_client.bulk.job.state.folder import JobFolder
from headrace_client.bulk.job.state.manifest import Manifest
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending, Finished
from headrace_client.clock import epoch_ms
from headrace_client.errors import ClientError
from headrace_client.jobs import JobError, JobState
from headrace_client.registry.announcements import (
    Announcement,
    State,
    Topics,
    check_job_name,
)


class ExitStatus(IntEnum):
    COMPLETE = 0
    PARTIAL = 3
    """Some rows failed."""
    NOT_RUN = 2
    """The job could not run, or nobody answered with ``--no-wait``."""
    CANCELLED = 4
    """Or expired."""
    INTERRUPTED = 130
    """The same command goes on."""


def run_bulk(
    options: BulkOptions, display: Display, start: StartsLocalService | None = None
) -> ExitStatus:
    """Run the command; raises ``ClientError`` if it could not run.

    ``start`` is what starts the service of a local job; where unset, the one that is installed.
    """
    if not options.local:
        return _run(options, find_service(options), display)
    start = start or find_local_service()
    with ExitStack() as local:
        with display.busy("starting a broker, Ray and the model on this machine"):
            document = local.enter_context(
                start(config=options.config, route=options.route, say=display.say)
            )
        return _run(options, service_of(document, options), display)


def _run(options: BulkOptions, service: Service, display: Display) -> ExitStatus:
    destination = Destination.of(options.out, options.state_dir)
    folder = JobFolder(destination.state_directory)
    before = None if options.restart else folder.manifest()
    plan = make_plan(
        options,
        destination,
        service=service.identity,
        before=None if before is None else before.inputs,
    )
    with folder:
        manifest = _manifest(options, plan, folder)
        session = _Session(options, plan, service, manifest, folder, display)
        with display:
            return session.run()


def _manifest(options: BulkOptions, plan: Plan, folder: JobFolder) -> Manifest:
    inputs = plan.source.fingerprints
    found = None if options.restart else folder.manifest()
    if found is not None:
        return folder.go_on(found, plan.fingerprint, inputs)
    out = plan.destination.out
    if options.retry_failed:
        raise OptionsError(
            f"--retry-failed: no job has written {out} (there is no manifest in {folder.path}); "
            "run the command without it first"
        )
    if plan.destination.exists() and not options.restart:
        raise OptionsError(
            f"{out} exists already, and there is no job in {folder.path} that could go on; name "
            "another OUT, or replace this one with --restart"
        )
    folder.clear()
    name = options.job or f"bulk-{options.kind}"
    try:
        check_job_name(name)
    except ValueError as error:
        raise OptionsError(f"--job: {error}") from None
    return folder.begin(name, plan.fingerprint, inputs, epoch_ms())


class _Session:
    def __init__(
        self,
        options: BulkOptions,
        plan: Plan,
        service: Service,
        manifest: Manifest,
        folder: JobFolder,
        display: Display,
    ) -> None:
        self._options = options
        self._plan = plan
        self._service = service
        self._manifest = manifest
        self._folder = folder
        self._display = display
        self._out = plan.destination.out
        self._ending = Ending(plan.layout(manifest.job), plan.destination)

    def run(self) -> ExitStatus:
        self._ending.check()
        store = self._folder.open_store()
        kept = self._recovered(store)
        this_round = next_round(
            kept, retry_failed=self._options.retry_failed, has_grown=self._has_grown(kept)
        )
        if isinstance(this_round, Ended):
            return self._nothing_to_do(this_round)
        self._check_limit(this_round)
        self._say_beginning(this_round)
        try:
            outcome = asyncio.run(self._runner(store, this_round).run())
        except JobError as error:
            raise ClientError(f"{error} (a lower --limit shortens the input too)") from None
        give_back_memory()
        if not outcome.is_complete:
            return self._stopped(outcome)
        return self._end(store, this_round, outcome)

    def _runner(self, store: CheckpointStore, this_round: Round) -> RoundRunner:
        # Kept by nobody: what it holds in memory is not needed for the end.
        return RoundRunner(
            options=self._options,
            plan=self._plan,
            service=self._service,
            job_id=self._manifest.job,
            this_round=this_round,
            store=store,
            ending=self._ending,
            state_directory=self._folder.path,
            display=self._display,
            announcement=self._announcement(),
        )

    def _announcement(self) -> Announcement:
        options, route = self._options, self._service.route
        deadline = options.deadline
        return Announcement(
            job=self._manifest.job,
            kind=f"bulk {options.kind}",
            state=State.RUNNING,
            started_at_ms=self._manifest.created_at_ms,
            route=route.name,
            # Names only: a URL may hold a password.
            description=f"{_name(options.inputs[0])} -> {_name(self._out)}",
            topics=Topics(
                requests=route.requests_topic,
                results=route.results_topic,
                control=route.control_topic,
            ),
            deadline_ms=None if deadline is None else deadline_ms(deadline, epoch_ms()),
            weight=options.weight or 1,
        )

    def _recovered(self, store: CheckpointStore) -> dict[str, Any] | None:
        """Return the last checkpoint, after an end that was interrupted has been completed."""
        kept = store.load()
        if kept is not None and kept.get("ended"):
            self._ending.clean()
            return kept
        finished = self._ending.resume()
        if finished is None or kept is None:
            return kept
        self._note_end(store, round_of(kept), kept["rows_read"], finished, kept["inputs"])
        return store.load()

    def _has_grown(self, kept: Mapping[str, Any] | None) -> bool:
        if kept is None or not kept.get("ended"):
            return False
        read: int = kept["ended"]["rows_read"]
        limit, total = self._options.limit, self._plan.source.rows_total
        if limit is not None and limit <= read:
            return False
        if total is not None:
            return total > read
        # Not by the manifest: it was written before these rows were read.
        is_changed = kept["ended"]["inputs"] != self._plan.inputs_digest
        return is_changed or kept.get("limit") is not None

    def _end(self, store: CheckpointStore, this_round: Round, outcome: Outcome) -> ExitStatus:
        self._display.say(f"writing {self._out}")
        end = self._ending.finish if this_round.number == 1 else self._ending.merge
        finished = end(outcome.parts)
        inputs = self._plan.inputs_digest
        self._note_end(store, this_round, outcome.rows_read, finished, inputs)
        self._display.say(
            f"{count_of(finished.rows, 'row')} in {self._out}, {duration(outcome.elapsed_s)}, "
            f"{outcome.rows_per_s:,.0f} rows/s"
        )
        if not finished.failed_rows:
            return ExitStatus.COMPLETE
        self._say_failed(finished.failed_rows)
        return ExitStatus.PARTIAL

    def _note_end(
        self,
        store: CheckpointStore,
        this_round: Round,
        rows_read: int,
        finished: Finished,
        inputs: str,
    ) -> None:
        store.end(
            {
                **this_round.note(),
                "limit": self._options.limit,
                "ended": {
                    "rows": finished.rows,
                    "failed_rows": finished.failed_rows,
                    # A round of failed rows may end before the last row of OUT.
                    "rows_read": max(rows_read, this_round.from_row),
                    "inputs": inputs,
                },
            }
        )
        self._ending.clean()

    def _nothing_to_do(self, ended: Ended) -> ExitStatus:
        if not self._plan.destination.exists():
            raise OptionsError(
                f"{self._out} is not there, and {self._folder.path} says that its job has ended; "
                "put it back, or begin anew with --restart"
            )
        self._display.say(
            f"{self._out} is complete: {count_of(ended.rows, 'row')}; nothing is left to do"
        )
        if not ended.failed_rows:
            return ExitStatus.COMPLETE
        self._say_failed(ended.failed_rows)
        return ExitStatus.PARTIAL

    def _stopped(self, outcome: Outcome) -> ExitStatus:
        rows = count_of(outcome.rows_written, "row")
        goes_on = f"the same command goes on ({rows} kept in {self._folder.path})"
        if outcome.gave_up_waiting is not None:
            self._display.say(f"{outcome.gave_up_waiting}. --no-wait: stopped; {goes_on}")
            return ExitStatus.NOT_RUN
        match outcome.state:
            case JobState.EXPIRED:
                self._display.say(f"the deadline has passed; with a later --deadline {goes_on}")
                return ExitStatus.CANCELLED
            case JobState.CANCELLED:
                self._display.say(f"cancelled; {goes_on}")
                return ExitStatus.CANCELLED
            case _:
                self._display.say(f"interrupted; {goes_on}")
                return ExitStatus.INTERRUPTED

    def _check_limit(self, this_round: Round) -> None:
        limit = self._options.limit
        # Further rows that were sent are the core's business.
        written = (this_round.checkpoint or {}).get("start_row", 0)
        if limit is not None and limit < written:
            raise OptionsError(
                f"--limit: {limit:,} rows, and this job has written {written:,} already: give at "
                "least as many, or begin anew with --restart"
            )

    def _say_beginning(self, this_round: Round) -> None:
        job, route = self._manifest.job, self._service.route
        where = f"{route.requests_topic} at {self._service.connection.bootstrap}"
        kept = this_round.checkpoint
        if kept is not None:
            rows = count_of(kept.get("rows_written", 0), "row")
            self._display.say(f"job {job} goes on: {rows} written; requests go to {where}")
        elif this_round.number > 1:
            what = "failed rows again" if this_round.retries_failed else "new rows"
            self._display.say(f"job {job}: {what}; requests go to {where}")
        else:
            self._display.say(f"job {job}: requests go to {where}")

    def _say_failed(self, rows: int) -> None:
        self._display.say(
            f"{count_of(rows, 'row')} failed: {self._plan.destination.failed} says why; "
            "--retry-failed tries them again"
        )


def count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
