"""What a process leaves behind that ends while it takes a record in."""

import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from consumer.engine.engine import Engine
from consumer.engine.intake import MOST_ENDS
from consumer.ports import Record, TopicPartition
from consumer.replica.build import build_engine
from consumer.replica.reading_notes import FileNotes, open_notes
from tests.engines import P0, P1, line, publish_all, record
from tests.simulated_service import ROUTE, URL
from tests.simulation import EPOCH_MS

CONSUMER_THAT_ENDS = """\
import os, sys
from pathlib import Path
from consumer.engine import intake
from tests.unit.test_reading_notes import deliver, engine_with
intake.plain_fields = lambda value: os.kill(os.getpid(), 9) if b"poison" in value else None
deliver(engine_with(Path(sys.argv[1])))
"""


def engine_with(file: Path) -> Engine:
    return build_engine(
        route_name="embeddings",
        route=ROUTE,
        urls=frozenset({URL}),
        consumer="c",
        metadata_limit_characters=4096,
        jitter=random.Random(0),
        notes=FileNotes(file),
    )


def deliver(engine: Engine) -> None:
    engine.assign({P0: None, P1: None})
    records = [record(7, line("poison")), record(8), record(3, partition=P1)]
    engine.deliver(records, 0.0, EPOCH_MS)


def test_a_record_that_ends_one_consumer_after_another_is_a_dead_letter(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    command = [sys.executable, "-c", CONSUMER_THAT_ENDS, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(MOST_ENDS):
        ended = subprocess.run(
            command, check=False, env=environment, capture_output=True, timeout=300
        )
        assert ended.returncode == -9, ended.stderr
    engine = engine_with(file)

    deliver(engine)

    assert engine.queued_records == 2
    (publication,) = publish_all(engine)
    letter, result = publication.messages
    assert (letter.topic, letter.value) == ("dead-letters", line("poison"))
    assert dict(letter.headers)["headrace-error-code"] == b"reading_failed"
    told = orjson.loads(result.value or b"")
    assert (told["custom_id"], told["error"]["code"]) == ("poison", "reading_failed")


def test_ends_at_other_records_are_nobodys_fault(tmp_path: Path) -> None:
    ends = []
    for offset in (5, 5, 6, 5, 5, 5):
        notes = FileNotes(tmp_path / "notes")
        notes.begin(record(4))
        notes.end(record(4))
        ends.append(notes.begin(record(offset)))
    assert ends == [0, 1, 0, 0, 1, 2]
    # The same offset of a topic that was created again is another record.
    other = record(5)._replace(timestamp_ms=EPOCH_MS + 1)
    assert FileNotes(tmp_path / "notes").begin(other) == 0


def test_who_takes_its_notes_back_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(5):
        notes = FileNotes(tmp_path / "notes")
        for each in (record(1), record(2), record(9, partition=P1)):
            assert notes.begin(each) == 0
            notes.end(each)


def test_a_suspect_stays_one_for_a_consumer_that_meets_it_later(tmp_path: Path) -> None:
    for _ in range(3):
        FileNotes(tmp_path / "notes").begin(record(5))
    later = FileNotes(tmp_path / "notes")
    later.begin(record(1, partition=P1))
    assert [later.begin(record(offset)) for offset in (4, 5)] == [0, 3]
    later.end(record(5))
    assert FileNotes(tmp_path / "notes").begin(record(5)) == 3


def test_a_partition_beyond_the_file_has_no_notes(tmp_path: Path) -> None:
    beyond = record(5, partition=TopicPartition("requests", 1_000_000))
    for _ in range(2):
        notes = FileNotes(tmp_path / "notes")
        assert notes.begin(beyond) == 0
    notes.end(beyond)


def untimed() -> Record:
    return record(5)._replace(timestamp_ms=None)


@pytest.mark.parametrize("each", [untimed(), untimed()._replace(timestamp_ms=-1)])
def test_a_record_without_a_time_is_known_again(tmp_path: Path, each: Record) -> None:
    FileNotes(tmp_path / "notes").begin(each)
    assert FileNotes(tmp_path / "notes").begin(each) == 1


def test_groups_have_notes_of_their_own_and_nobody_elses_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert open_notes("kafka:9092", "g", "t") is not None
    assert open_notes("kafka:9092", "h", "t") is not None
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == 2
    assert folder.stat().st_mode & 0o777 == 0o700

    (tmp_path / "elsewhere").mkdir()
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "elsewhere")
    assert open_notes("kafka:9092", "g", "t") is None
    assert "again and again" in caplog.text
