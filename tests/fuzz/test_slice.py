"""A hundred thousand hostile records: each has one outcome, and a planted bug is found."""

from collections.abc import Iterator

import pytest

from consumer.engine.intake import TOMBSTONE, Intake, Request, Unreadable
from consumer.kafka.source.unpacking import Unpacking
from tests.fuzz.run import MAX_HELD_BYTES, Fuzz, ViolationError

RECORDS = 100_000
MOST_GROWN_KIB = 64 * 1024


@pytest.fixture(autouse=True)
def _unpacking() -> Iterator[None]:
    yield
    Unpacking(256 * 1024 * 1024).install()


def test_every_hostile_record_has_one_outcome() -> None:
    report = Fuzz(seed=21).run(RECORDS)

    assert report.records == RECORDS
    assert report.grown_kib < MOST_GROWN_KIB
    # One record over the limit is admitted, as nothing else would ever read it.
    assert report.most_held_bytes < 2 * MAX_HELD_BYTES
    for code in ("invalid_json", "invalid_request_line", "request_too_large", "model_failed"):
        assert report.outcomes[f"dead letter: {code}"], code
    for status in (200, 400, 404):
        assert report.outcomes[f"result: {status}"] > RECORDS / 1000, status
    assert report.outcomes["tombstone"]


def test_the_same_seed_finds_the_same() -> None:
    assert Fuzz(seed=3).run(2_000).outcomes == Fuzz(seed=3).run(2_000).outcomes


def test_a_record_that_is_passed_over_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Intake.read

    def read(self: Intake, record: object) -> object:
        found = right(self, record)  # type: ignore[arg-type]
        return TOMBSTONE if isinstance(found, Unreadable) else found

    monkeypatch.setattr(Intake, "read", read)
    with pytest.raises(ViolationError, match="no outcome"):
        Fuzz(seed=5).run(2_000)


def test_a_parser_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Intake.work_of

    def work_of(self: Intake, body: dict[str, object]) -> float:
        if body.get("dimensions") == 10**12:
            raise OverflowError("planted")
        return right(self, body)

    monkeypatch.setattr(Intake, "work_of", work_of)
    with pytest.raises(OverflowError, match="planted"):
        Fuzz(seed=5).run(2_000)


def test_a_result_that_no_reader_can_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Intake.read

    def read(self: Intake, record: object) -> object:
        found = right(self, record)  # type: ignore[arg-type]
        return found._replace(custom_id=7) if isinstance(found, Request) else found

    monkeypatch.setattr(Intake, "read", read)
    with pytest.raises((ViolationError, TypeError)):
        Fuzz(seed=5).run(2_000)
