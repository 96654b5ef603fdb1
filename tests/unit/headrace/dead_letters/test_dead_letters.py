"""Selecting, remembering and replaying dead letters, as far as it needs no Kafka."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headrace.cli.dlq.output import letter_page, row
from headrace.cli.output import printable
from headrace.dead_letters.clearing import Clearing
from headrace.dead_letters.handled import (
    PAGE_OFFSETS,
    HandledOffsets,
    HandledPageError,
    fingerprint,
)
from headrace.dead_letters.handled_topic import handled_topic_of
from headrace.dead_letters.inbox import Found, Inbox, _is_same_log, reopened
from headrace.dead_letters.letter import DeadLetter, read_letter
from headrace.dead_letters.replay import (
    NotReplayableError,
    Pace,
    Targets,
    compose,
    has_expired,
    needs_source,
)
from headrace.dead_letters.selection import Selection, parse_duration_ms
from headrace.errors import UserError
from headrace.records.reading import LogRange, LogReader, TopicRecord, parse_place
from headrace_client.wire.names import Place
from schemas.wire import headers
from schemas.wire.deadletters import read_replays


def record(
    offset: int = 0,
    value: bytes | None = b'{"custom_id": "a"}',
    own: Sequence[tuple[str, bytes | None]] = (),
    **changed: str,
) -> TopicRecord:
    said = {
        "source": "in/1/7",
        "route": "r",
        "error-code": "model_failed",
        "error-message": "why",
        "attempts": "5",
        "failed-at": "1000",
        **{name.replace("_", "-"): text for name, text in changed.items()},
    }
    added = tuple((f"headrace-{name}", text.encode()) for name, text in said.items())
    return TopicRecord("dead", 0, offset, b"key", value, (*own, *added), 1000)


def letter(**arguments: Any) -> DeadLetter:
    found = read_letter(record(**arguments))
    assert found is not None
    return found


class TestReading:
    def test_the_value_names_it_or_else_the_key(self) -> None:
        assert letter().custom_id() == "a"
        assert letter(value=b'\0\0\0\0\x07{"custom_id":"framed"}').custom_id() == "framed"
        assert letter(value=b"no json").custom_id() == "key"
        assert letter(value=None).custom_id() == "key"
        assert letter(value=b'["custom_id"]').custom_id() == "key"

    @pytest.mark.parametrize(
        "changed",
        [
            {"source": "nowhere"},
            {"failed_at": "soon"},
            {"failed_at": "\u0661"},
            {"failed_at": "9" * 30},
            {"error_code": ""},
        ],
    )
    def test_other_records_are_none(self, changed: dict[str, Any]) -> None:
        assert read_letter(record(**changed)) is None

    def test_another_releases_error_code_is_read(self) -> None:
        assert letter(error_code="new_reason").error_code == "new_reason"

    def test_places(self) -> None:
        assert parse_place("a.b-c_d/3/12") == Place("a.b-c_d", 3, 12)
        for text in ("a/b/1", "a/1", "a/1/2/3", "a/1/-1", "a b/1/2", "a/1/" + "9" * 30):
            assert parse_place(text) is None


class TestSelecting:
    @pytest.mark.parametrize(
        ("text", "expected_ms"),
        [("90s", 90_000), ("1d12h", 129_600_000), ("0.5m", 30_000), ("5ms", 5), ("2w", 1.2096e9)],
    )
    def test_durations(self, text: str, expected_ms: float) -> None:
        assert parse_duration_ms(text) == expected_ms

    @pytest.mark.parametrize("text", ["", "5", "h", "5h ", "-5h", "5y", "1h30", "h5m"])
    def test_no_durations(self, text: str) -> None:
        with pytest.raises(ValueError, match="write 90s"):
            parse_duration_ms(text)

    @pytest.mark.parametrize(
        ("selection", "is_taken"),
        [
            (Selection(), True),
            (Selection(error_codes=frozenset({"model_failed", "x"})), True),
            (Selection(error_codes=frozenset({"x"})), False),
            (Selection(failed_before_ms=1000), False),
            (Selection(failed_before_ms=1001), True),
            (Selection(failed_after_ms=1000), True),
            (Selection(failed_after_ms=1001), False),
            (Selection(custom_id="a"), True),
            (Selection(custom_id="[ab]"), True),
            (Selection(custom_id="A"), False),
            (Selection(route="r"), True),
            (Selection(route="s"), False),
        ],
    )
    def test_filters(self, selection: Selection, is_taken: bool) -> None:
        assert selection.takes(letter(), "r") is is_taken

    def test_records_of_others_are_selected_by_no_filter_only(self) -> None:
        foreign = Found(record(source=""), None, "", is_handled=False)

        assert foreign.is_selected(Selection())
        assert not foreign.is_selected(Selection(error_codes=frozenset({"model_failed"})))

    @pytest.mark.parametrize(
        ("routes", "expected"), [(("r", "s"), "r"), (("s",), "s"), (("s", "t"), "r")]
    )
    def test_a_renamed_route_keeps_its_dead_letters(
        self, routes: tuple[str, ...], expected: str
    ) -> None:
        inbox = Inbox("dead", routes, {0: LogRange(0, 9)}, {0: HandledOffsets()})

        assert inbox.find(record()).route == expected


class Log:
    """What ``_is_same_log`` asks of a reader: a record at its offset, or none."""

    def __init__(self, *standing: TopicRecord) -> None:
        self._standing = {each.offset: each for each in standing}

    async def record_at(self, place: Place) -> TopicRecord | None:
        return self._standing.get(place.offset)


class TestTheLogThatWasHandled:
    @pytest.mark.parametrize(
        ("start", "end", "standing", "is_same"),
        [
            (0, 9, record(5), True),
            (6, 9, None, True),  # purged, or expired
            (0, 5, None, False),  # shorter than what was handled
            (0, 9, record(5, value=b"another"), False),
            (0, 9, None, False),  # a transaction's marker stands there
        ],
    )
    async def test_is_known_by_the_last_record_that_was_handled(
        self, start: int, end: int, standing: TopicRecord | None, is_same: bool
    ) -> None:
        handled = HandledOffsets()
        handled.mark(record(5))
        log = cast("LogReader", Log(*([standing] if standing else [])))

        found = await _is_same_log(log, Place("dead", 0, 0), LogRange(start, end), handled)

        assert found is is_same


OFFSETS = st.sets(st.integers(0, 4 * PAGE_OFFSETS) | st.integers(0, 40))


class TestRemembering:
    @given(OFFSETS, st.integers(0, 50))
    def test_what_was_handled_is_known_after_a_round_trip(
        self, offsets: set[int], start: int
    ) -> None:
        first = HandledOffsets()
        for offset in sorted(offsets):
            first.mark(record(offset))
        pages = dict(first.take_changes())
        second = HandledOffsets()
        for number, page in pages.items():
            second.load(number, page)

        assert {each for each in offsets | set(range(50)) if each in second} == offsets
        expected = next(each for each in range(start, start + 60) if each not in offsets)
        assert second.first_unhandled(start) == expected
        assert dict(first.take_changes()) == {}
        if offsets:
            assert second.witness == (max(offsets), fingerprint(record(max(offsets))))

    def test_a_page_is_small(self) -> None:
        handled = HandledOffsets()
        for offset in range(0, PAGE_OFFSETS, 2):
            handled.mark(record(offset))

        ((_number, page),) = handled.take_changes()

        assert page is not None
        assert len(page) < 200

    def test_pages_of_deleted_records_are_dropped(self) -> None:
        handled = HandledOffsets()
        for offset in (1, PAGE_OFFSETS + 1):
            handled.mark(record(offset))
        list(handled.take_changes())

        handled.forget_below(2 * PAGE_OFFSETS - 1)

        assert list(handled.take_changes()) == [(0, None)]
        assert 1 not in handled
        assert PAGE_OFFSETS + 1 in handled

    def test_another_log_begins_anew(self) -> None:
        handled = HandledOffsets()
        handled.mark(record(5))
        list(handled.take_changes())

        handled.forget_all()
        handled.mark(record(1))

        assert 5 not in handled
        ((number, page),) = handled.take_changes()
        again = HandledOffsets()
        again.load(number, page)
        assert (1 in again, 5 in again) == (True, False)

    @given(st.binary(max_size=60))
    def test_damaged_pages_are_refused(self, page: bytes) -> None:
        with pytest.raises(HandledPageError):
            HandledOffsets().load(0, page)

    def test_records_differ_by_any_of_their_parts(self) -> None:
        others = [record(value=b"x"), record(own=[("a", b"")]), record(failed_at="1001")]

        assert len({fingerprint(each) for each in [record(), *others]}) == 4
        assert fingerprint(record(offset=9)) == fingerprint(record())

    def test_no_room_for_the_topics_name(self) -> None:
        with pytest.raises(UserError, match="dead_letters_topic"):
            handled_topic_of("x" * 245)

    def test_looking_again_keeps_the_ends_that_were_shown(self) -> None:
        before = Inbox("dead", ("r",), {0: LogRange(3, 9)}, {0: HandledOffsets()})
        now = Inbox("dead", ("r",), {0: LogRange(5, 20), 1: LogRange(0, 4)}, {0: HandledOffsets()})

        assert reopened(before, now).ranges == {0: LogRange(5, 9)}


class TestClearing:
    @given(st.lists(st.booleans(), max_size=20), st.integers(0, 3))
    def test_nothing_unhandled_is_deleted(self, handled: list[bool], markers: int) -> None:
        end = 10 + len(handled) + markers
        clearing = Clearing({0: LogRange(10, end)})
        for offset, is_handled in enumerate(handled, 10):
            (clearing.handle if is_handled else clearing.keep)(0, offset)
        clearing.finish()

        below = clearing.offsets({0: LogRange(10, end)}).get(0, 10)

        kept = [offset for offset, is_handled in enumerate(handled, 10) if not is_handled]
        assert below == (kept[0] if kept else end)

    def test_what_was_handled_before_goes_too(self) -> None:
        clearing = Clearing({0: LogRange(7, 9), 1: LogRange(0, 0)})
        clearing.keep(0, 7)

        assert clearing.offsets({0: LogRange(2, 9), 1: LogRange(0, 0)}) == {0: 7}

    def test_an_unfinished_reading_clears_what_it_saw(self) -> None:
        clearing = Clearing({0: LogRange(0, 9), 1: LogRange(0, 9)})
        clearing.handle(0, 3)

        assert clearing.offsets({0: LogRange(0, 9), 1: LogRange(0, 9)}) == {0: 4}


class TestReplaying:
    def test_it_goes_to_its_partition_of_its_topic(self) -> None:
        own = [("mine", b"\xff")]

        outgoing = compose(letter(own=own), "in", None, keeps_deadline=True)

        assert outgoing.partition == 1
        assert outgoing.message[:3] == ("in", b"key", b'{"custom_id": "a"}')
        assert outgoing.message.headers[0] == own[0]
        assert read_replays(outgoing.message.headers) == 1
        assert compose(letter(), "elsewhere", None, keeps_deadline=True).partition is None

    def test_a_value_that_was_left_out_comes_from_its_source(self) -> None:
        omitted = letter(
            value=None,
            omitted_value_sha256=hashlib.sha256(b"value").hexdigest(),
            omitted_value_bytes="5",
        )
        original = TopicRecord("in", 1, 7, b"k", b"value", (("h", b"1"),), 0)

        assert needs_source(omitted)
        outgoing = compose(omitted, "in", original, keeps_deadline=True)
        assert outgoing.message[:3] == ("in", b"k", b"value")
        assert outgoing.message.headers[0] == ("h", b"1")
        with pytest.raises(NotReplayableError, match="no longer at in/1/7"):
            compose(omitted, "in", None, keeps_deadline=True)
        other = TopicRecord("in", 1, 7, b"k", b"other", (), 0)
        with pytest.raises(NotReplayableError, match="another one"):
            compose(omitted, "in", other, keeps_deadline=True)

    def test_targets(self) -> None:
        found = Found(record(), letter(), "r", is_handled=False)

        assert Targets({"r": "in"}).of(found) == "in"
        assert Targets({"r": "in"}, topic="other").of(found) == "other"
        with pytest.raises(NotReplayableError, match="no route 'r'; name a topic with --to"):
            Targets({}).of(found)
        with pytest.raises(NotReplayableError, match="no dead letter"):
            Targets({}, topic="other").of(found._replace(letter=None))

    def test_deadlines_that_passed(self) -> None:
        own = [(headers.DEADLINE, b"500")]

        assert has_expired(letter(own=own), 500)
        assert not has_expired(letter(own=own), 499)
        assert not has_expired(letter(), 500)

    @given(st.floats(0.01, 1e6), st.integers(1, 10_000))
    def test_the_pace_is_kept_on_average(self, rate: float, sent_records: int) -> None:
        pace = Pace(rate)

        assert 1 <= pace.batch_records <= 500
        assert pace.delay_s(sent_records, 0.0) == pytest.approx(sent_records / rate)
        assert pace.delay_s(sent_records, sent_records / rate + 1) == 0
        assert Pace().delay_s(sent_records, 0.0) == 0


class TestShowing:
    def test_nothing_steers_the_terminal(self) -> None:
        hostile = "\x1b[2J[red]x\u202e\r\n\x07"
        found = letter(
            own=[(hostile, hostile.encode())],
            value=json.dumps({"custom_id": hostile}).encode(),
            error_message=hostile,
        )
        printed = io.StringIO()
        console = Console(file=printed, width=200, force_terminal=False)

        console.print(letter_page(found, 5000, 4000))
        console.print(row(Found(found.record, found, "r", is_handled=False), 5000))

        text = printed.getvalue()
        assert "[red]x" in text
        assert not {c for c in text if c in "\x1b\u202e\r\x07"}
        assert printable("a\nb") == "a·b"

    def test_a_long_value_is_cut(self) -> None:
        printed = io.StringIO()
        console = Console(file=printed, width=100)

        console.print(letter_page(letter(value=b"x" * 100_000), 5000, 50))

        assert "99,950 more characters" in printed.getvalue()
        assert len(printed.getvalue()) < 3000
