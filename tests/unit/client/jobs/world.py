"""A world around a job: two topics, a service, an output, and a shell that is killed.

Everything happens in steps that a random generator chooses: what was sent arrives late or never,
acknowledgements and results come in any order across partitions, results are repeated, and the
process dies between any two steps and goes on from its last checkpoint. After each step the world
asserts what must hold; it knows the topics, and the job does not.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from headrace_client.jobs import (
    Answer,
    Checkpoint,
    Failure,
    Job,
    JobSettings,
    JobState,
    Outcome,
    Piece,
    Request,
    Window,
)

_FINISH_STEPS = 20_000


@dataclass(frozen=True)
class Plan:
    """What a job is, and what of it fails."""

    sizes: tuple[int, ...]
    settings: JobSettings
    partitions: int
    poison: frozenset[int] = frozenset()
    """Items that fail for good, and with them the request that they are in."""
    flaky: frozenset[int] = frozenset()
    """Items that fail at their first attempt, and may be tried again."""
    oversized: frozenset[int] = frozenset()
    """Items that the broker refuses, in any request."""
    most_answered: int = 1_000
    """Items of which an answer is small enough for its topic."""

    @classmethod
    def draw(cls, rng: random.Random) -> "Plan":
        count = rng.choice([0, 1, 7, 30, 60])
        request_items = rng.choice([1, 2, 4, 8])
        window = _draw_window(rng, request_items)
        items = range(count)
        return cls(
            sizes=tuple(rng.randrange(1, 20) for _ in items),
            settings=JobSettings(
                ordered=rng.random() < 0.6,
                request_items=request_items,
                request_bytes=rng.choice([10, 40, 1000]),
                attempts=rng.choice([1, 2, 3]),
                window=window,
            ),
            partitions=rng.choice([1, 2, 3]),
            poison=frozenset(i for i in items if rng.random() < 0.06),
            flaky=frozenset(i for i in items if rng.random() < 0.06),
            oversized=frozenset(i for i in items if rng.random() < 0.03),
            most_answered=rng.choice([1, 3, 1_000]),
        )

    def regrouped(self, rng: random.Random) -> "Plan":
        """The plan of the same job with another window, and other groups of items."""
        request_items = rng.choice([1, 2, 4, 8])
        window = _draw_window(rng, request_items)
        request_bytes = rng.choice([10, 40, 1000])
        settings = replace(
            self.settings, request_items=request_items, request_bytes=request_bytes, window=window
        )
        return replace(self, settings=settings)

    def outcome(self, request: Request, first_attempt: int) -> Outcome:
        items = range(request.first, request.end)
        if not self.poison.isdisjoint(items):
            return Failure("bad_row", "it is poison", retryable=request.items > 1)
        if request.attempt == first_attempt and not self.flaky.isdisjoint(items):
            return Failure("model_failed", "it is flaky", retryable=True)
        if request.items > self.most_answered:
            return Failure.of("result_too_large", "it is over the limit")
        return Answer(tuple(items), size_bytes=request.items, tokens=2 * request.items)

    def may_fail(self, item: int) -> bool:
        if item in self.poison or item in self.oversized:
            return True
        return item in self.flaky and self.settings.attempts == 1


def _draw_window(rng: random.Random, request_items: int) -> Window:
    window_items = request_items * rng.choice([1, 2, 5])
    return Window(
        requests=rng.choice([1, 2, 8]),
        items=window_items,
        bytes=rng.choice([15, 60, 1000]),
        span_items=window_items * rng.choice([1, 2, 4]),
        span_bytes=rng.choice([20, 100, 10_000]),
        result_bytes=rng.choice([5, 10_000]),
    )


class Result(NamedTuple):
    request: Request
    outcome: Outcome


class Send(NamedTuple):
    request: Request
    partition: int


class Ack(NamedTuple):
    request: Request
    partition: int
    offset: int


@dataclass
class Process:
    """One life of the shell: what is lost when it is killed."""

    job: Job
    to_scan: dict[int, int]
    positions: dict[int, int]
    sent: list[Send] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    part: list[Piece] = field(default_factory=list)
    known: set[Request] = field(default_factory=set)
    """Sent or found, and no answer read."""
    failed: set[Request] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    """Items with an outcome that was read, or durable."""
    taken: set[int] = field(default_factory=set)


class World:
    """One job from its begin to its end, over as many processes as it takes."""

    def __init__(
        self,
        rng: random.Random,
        plan: Plan,
        *,
        make_job: Callable[[JobSettings, Checkpoint | None, float], Job] = Job,
        with_late_sends: bool = False,
        with_other_windows: bool = False,
    ) -> None:
        self.rng = rng
        self.plan = plan
        self.now = 0.0
        self.kills = 0
        self.late: list[Send] = []
        self._landed_late: set[tuple[int, int]] = set()
        self._with_late_sends = with_late_sends
        self._with_other_windows = with_other_windows
        self._most_grouped = plan.settings.request_items
        self._kill_rate = rng.choice([0.003, 0.01, 0.04])
        self._repeats = rng.choice([1, 1, 5])
        self.first_attempt = 1
        self.requests: list[list[Request | None]] = [
            [None] * rng.randrange(3) for _ in range(plan.partitions)
        ]
        self.results: list[list[Result | None]] = [
            [None] * rng.randrange(3) for _ in range(plan.partitions)
        ]
        self.unserved: list[Request] = []
        self.output: list[tuple[int, Outcome]] = []
        self.checkpoint: Checkpoint | None = None
        self._checkpoint_rows = 0
        self._make_job = make_job
        self.process = self._start()

    # Lives of the shell.

    def _start(self) -> Process:
        job = self._make_job(self.plan.settings, self.checkpoint, self.now)
        if self.checkpoint is None:
            for partition in range(self.plan.partitions):
                job.requests_scanned(partition, len(self.requests[partition]))
                job.results_read(partition, len(self.results[partition]))
            # What a shell keeps before it sends anything.
            self.checkpoint = job.checkpoint(self.now)
        kept = self.checkpoint
        process = Process(
            job,
            to_scan={p: kept.request_offsets.get(p, 0) for p in range(self.plan.partitions)},
            positions={p: kept.result_offsets.get(p, 0) for p in range(self.plan.partitions)},
        )
        process.settled = process.taken = {item for item, _ in self.output}
        process.taken = set(process.settled)
        return process

    def kill(self) -> None:
        self.kills += 1
        for send in self.process.sent:
            if self._with_late_sends and self.rng.random() < 0.5:
                self.late.append(send)
            elif self.rng.random() < 0.5:
                self._land(send)
        del self.output[self._checkpoint_rows :]
        assert self.checkpoint is not None
        self.checkpoint = Checkpoint.from_dict(json.loads(json.dumps(self.checkpoint.to_dict())))
        if self._with_other_windows:
            self.plan = self.plan.regrouped(self.rng)
            self._most_grouped = max(self._most_grouped, self.plan.settings.request_items)
        self.process = self._start()

    def again(self, failed: list[tuple[int, int]]) -> None:
        """Another run of a job that ended; what failed is taken out of the output."""
        kept = self.process.job.checkpoint(self.now).again(failed)
        gone = {item for first, end in failed for item in range(first, end)}
        self.output = [row for row in self.output if row[0] not in gone]
        self.checkpoint, self._checkpoint_rows = kept, len(self.output)
        self.first_attempt = kept.attempt
        self.process = self._start()

    # Steps.

    def step(self, *, with_kills: bool = True, with_noise: bool = True) -> None:
        self.now += self.rng.choice([0.0, 0.0, 0.001, 0.1])
        steps: list[Callable[[], None]] = [
            self.read_input,
            self.scan,
            self.send,
            self.send,
            self.land,
            self.acknowledge,
            self.serve,
            self.read_result,
            self.read_result,
            self.take,
            self.write,
            self.keep_checkpoint,
        ]
        if with_noise:
            steps += [self.other_jobs, self.lose_send] + self._repeats * [self.repeat]
            steps += [self.land_late] if self.late else []
        if with_kills and self.rng.random() < self._kill_rate:
            steps = [self.kill]
        step = self.rng.choice(steps)
        for _ in range(1 if step == self.kill else self.rng.choice([1, 1, 4])):
            step()
        self.check()

    def finish(self) -> None:
        """Go on without kills until the job is over."""
        for _ in range(_FINISH_STEPS):
            if self.process.job.state(self.now).is_final:
                return
            self.step(with_kills=False, with_noise=False)
        progress = self.process.job.progress(self.now)
        raise AssertionError(f"the job stands still: {progress}")

    def read_input(self) -> None:
        job = self.process.job
        left = self.plan.sizes[job.items_read :]
        # Now and then the shell holds as much as it can.
        has_room = not self._with_other_windows or self.rng.random() < 0.5
        wanted = job.items_wanted(has_room=has_room)
        count = min(wanted, len(left), self.rng.randrange(1, 12))
        if count:
            job.add_items(left[:count], self.now)
        if count == len(left):
            job.input_ended()

    def scan(self) -> None:
        process = self.process
        for partition, position in list(process.to_scan.items()):
            log = self.requests[partition]
            if position == len(log):
                del process.to_scan[partition]
                process.job.requests_scanned(partition, position)
            else:
                process.to_scan[partition] = position + 1
                request = log[position]
                if request is not None:
                    process.job.published(request, partition, position, self.now)
                    if request not in process.failed:
                        process.known.add(request)
            if self.rng.random() < 0.2:
                return

    def send(self) -> None:
        process = self.process
        if process.to_scan:
            return
        request = process.job.next_request(self.now)
        if request is None:
            return
        self._check_send(request)
        process.known.add(request)
        if not self.plan.oversized.isdisjoint(range(request.first, request.end)):
            refused = Failure("request_too_large", "the broker refuses it")
            process.job.publish_failed(request, refused, self.now)
            process.known.discard(request)
            process.failed.add(request)
            if request.items == 1:
                process.settled.add(request.first)
            return
        process.sent.append(Send(request, self.rng.randrange(self.plan.partitions)))

    def land(self) -> None:
        if self.process.sent:
            sent = self.process.sent
            self._land(sent.pop(self.rng.randrange(len(sent))))

    def _land(self, send: Send) -> None:
        log = self.requests[send.partition]
        kept = self.checkpoint
        assert kept is not None
        if not _is_written(kept, send.request):
            position = kept.request_offsets.get(send.partition, 0)
            assert len(log) >= position, "a request lands below the checkpoint's offset"
        for each in self.requests:
            assert self._with_late_sends or send.request not in each, (
                f"{send.request} is published again"
            )
        self.process.acks.append(Ack(send.request, send.partition, len(log)))
        log.append(send.request)
        self.unserved.append(send.request)

    def land_late(self) -> None:
        """What a process sent arrives after the next one has looked."""
        if not self.late:
            return
        late = self.late.pop()
        self._landed_late.add((late.partition, len(self.requests[late.partition])))
        self.requests[late.partition].append(late.request)
        self.unserved.append(late.request)

    def lose_send(self) -> None:
        sent = self.process.sent
        if sent:
            lost = sent.pop(self.rng.randrange(len(sent)))
            self.process.known.discard(lost.request)
            refused = Failure("publish_failed", "the broker was away", retryable=True)
            self.process.job.publish_failed(lost.request, refused, self.now)

    def acknowledge(self) -> None:
        acks = self.process.acks
        if acks:
            ack = acks.pop(self.rng.randrange(len(acks)))
            self.process.job.published(*ack, self.now)

    def serve(self) -> None:
        if self.unserved:
            request = self.unserved.pop(self.rng.randrange(len(self.unserved)))
            self._answer(request, self.plan.outcome(request, self.first_attempt))

    def repeat(self) -> None:
        """At-least-once: an outcome comes again, and may be another one."""
        log = self.rng.choice(self.results)
        told = self.rng.choice(log) if log else None
        if told is not None:
            later = self.plan.outcome(told.request, self.rng.choice([self.first_attempt, 0]))
            self._answer(told.request, self.rng.choice([told.outcome, later]))

    def _answer(self, request: Request, outcome: Outcome) -> None:
        self.rng.choice(self.results).append(Result(request, outcome))

    def other_jobs(self) -> None:
        self.rng.choice(self.requests).append(None)
        self.rng.choice(self.results).append(None)

    def read_result(self) -> None:
        process = self.process
        partition = self.rng.randrange(self.plan.partitions)
        offset = process.positions[partition]
        if offset == len(self.results[partition]):
            return
        told = self.results[partition][offset]
        process.positions[partition] = offset + 1
        if told is not None:
            self._note_answer(told)
            process.job.answered(told.request, partition, offset, told.outcome, self.now)
        if self.rng.random() < 0.7:
            process.job.results_read(partition, offset + 1)

    def _note_answer(self, told: Result) -> None:
        process, request = self.process, told.request
        process.known.discard(request)
        if isinstance(told.outcome, Answer):
            process.settled.update(range(request.first, request.end))
            return
        process.failed.add(request)
        if request.attempt < self.first_attempt:
            return
        last = self.first_attempt + self.plan.settings.attempts - 1
        if request.items == 1 and not (told.outcome.retryable and request.attempt < last):
            process.settled.add(request.first)

    def take(self) -> None:
        process = self.process
        before = len(process.part)
        process.part += process.job.take_writable(
            self.rng.choice([None, 1, 10]), self.rng.choice([None, 1, 100])
        )
        for piece in process.part[before:]:
            for item in range(piece.first, piece.end):
                assert item not in process.taken, f"item {item} is written twice"
                process.taken.add(item)

    def write(self) -> None:
        """Make a part durable, or some of it."""
        process = self.process
        if not process.part:
            return
        count = self.rng.randrange(1, len(process.part) + 1)
        for piece in process.part[:count]:
            for item in range(piece.first, piece.end):
                if isinstance(piece.outcome, Answer):
                    assert piece.payload[item - piece.request_first] == item
                self.output.append((item, piece.outcome))
        process.job.written(process.part[count - 1].sequence, self.now)
        del process.part[:count]

    def keep_checkpoint(self) -> None:
        kept = self.process.job.checkpoint(self.now)
        self.checkpoint, self._checkpoint_rows = kept, len(self.output)
        self._check_checkpoint(kept)

    # What must hold.

    def check(self) -> None:
        job, settings = self.process.job, self.plan.settings
        items = [item for item, _ in self.output]
        assert len(items) == len(set(items)), "an item is written twice"
        if settings.ordered and self.first_attempt == 1:
            assert items == sorted(items), "the output is out of order"
            assert items == list(range(len(items))), "the output has a gap"
        span = job.items_read - self._lowest_untaken()
        assert span <= self._span_items, "it reads beyond the span"
        if job.state(self.now) in (JobState.DONE, JobState.PARTIAL, JobState.FAILED):
            assert sorted(items) == list(range(len(self.plan.sizes))), "it ended early"

    def check_output(self) -> None:
        """Every item is there once, with the outcome that it must have."""
        assert sorted(item for item, _ in self.output) == list(range(len(self.plan.sizes)))
        for item, outcome in self.output:
            if isinstance(outcome, Failure):
                assert self.plan.may_fail(item), f"item {item} failed: {outcome}"
            else:
                assert item not in self.plan.poison | self.plan.oversized

    @property
    def _span_items(self) -> int:
        # A request of a former process is read to its end, whatever the window is now.
        return max(self.plan.settings.window.span_items, self._most_grouped)

    def _lowest_untaken(self) -> int:
        taken = self.process.taken
        return next(i for i in range(len(self.plan.sizes) + 1) if i not in taken)

    def _check_send(self, request: Request) -> None:
        process, window = self.process, self.plan.settings.window
        assert request not in process.known, f"{request} is published and sent again"
        assert request.items <= self._most_grouped or request.attempt > 1
        assert request.end <= process.job.items_read, f"{request} is sent and was not read"
        items = range(request.first, request.end)
        assert process.settled.isdisjoint(items), f"{request}: what is answered is sent again"
        for log in self.requests:
            for other in log:
                if (
                    other is not None
                    and not self._with_late_sends
                    and other.attempt >= self.first_attempt
                    and other.first < request.end
                    and request.first < other.end
                ):
                    assert other in process.failed, f"{request} sent, and {other} is published"
        live = [
            each
            for each in process.known
            if not process.settled.issuperset(range(each.first, each.end))
            and each.attempt >= self.first_attempt
        ]
        assert len(live) < window.requests, "too many requests in flight"
        if live:
            in_flight = sum(each.items for each in live) + request.items
            assert in_flight <= window.items, "too many items in flight"
        assert request.end <= self._lowest_untaken() + self._span_items, "beyond the span"

    def _check_checkpoint(self, kept: Checkpoint) -> None:
        written = {i for i in range(len(self.plan.sizes)) if _is_written(kept, Request(i, i + 1))}
        assert written == {item for item, _ in self.output}, "it is not what was written"
        failures = sum(isinstance(outcome, Failure) for _, outcome in self.output)
        assert kept.items_failed == failures
        for partition, log in enumerate(self.requests):
            for offset, request in enumerate(log[: kept.request_offsets.get(partition, 0)]):
                # Of what arrived late nobody knows: its items are sent once more.
                is_known = (partition, offset) not in self._landed_late
                if is_known and request is not None and request.attempt >= self.first_attempt:
                    assert _is_written(kept, request), f"{partition}/{offset} is still needed"
        for partition, results in enumerate(self.results):
            for offset, told in enumerate(results[: kept.result_offsets.get(partition, 0)]):
                if told is not None and told.request.attempt >= self.first_attempt:
                    assert _is_written(kept, told.request), f"{partition}/{offset} is still needed"


def _is_written(kept: Checkpoint, request: Request) -> bool:
    above = {item for first, end in kept.written_above for item in range(first, end)}
    return all(i < kept.items_written or i in above for i in range(request.first, request.end))


def live(
    rng: random.Random,
    make_job: Callable[..., Job] = Job,
    *,
    with_late_sends: bool = False,
    with_other_windows: bool = False,
) -> World:
    """A whole job: a time with kills and noise, then a time without."""
    world = World(
        rng,
        Plan.draw(rng),
        make_job=make_job,
        with_late_sends=with_late_sends,
        with_other_windows=with_other_windows,
    )
    for _ in range(rng.choice([10, 100, 600])):
        if world.process.job.state(world.now).is_final:
            break
        world.step()
    world.finish()
    world.check_output()
    return world
