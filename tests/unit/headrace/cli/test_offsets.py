"""``headrace offsets`` and ``headrace route`` as a person sees them; Kafka and Ray are faked."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from consumer.autoscaling import pauses
from consumer.engine.offsets.progress import Progress
from consumer.engine.pausing import Pause
from consumer.kafka.admin.group_offsets import GroupState
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition
from headrace.cli import main
from headrace.cli.offsets import show
from headrace.cli.offsets.output import MOST_ROWS, show_edits
from headrace.cli.output import out
from headrace.cli.route import route as route_command
from headrace.offsets.edits import Edit
from headrace.offsets.standing import standings, summarise

SETTINGS = """\
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  r: {model: m, group: g, requests_topic: in, results_topic: out, dead_letters_topic: dead}
"""
EMPTY = GroupState("Empty", [])
BUSY = GroupState("Stable", ["aiokafka-0.14 at 10.0.0.7", "aiokafka-0.14 at 10.0.0.8"])


@pytest.fixture(autouse=True)
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text(SETTINGS)
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    monkeypatch.setattr(out, "_width", 80)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def committed(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the group have read a long log, with a record open in each partition."""
    lags = {
        TopicPartition("in", number): Lag(
            10**9,
            2 * 10**9,
            Progress((10**9 + number, 10**9 + 90_000), 10**9 + 10**5).point(),
            2 * 10**9,
        )
        for number in range(partitions)
    }
    found = standings(lags, from_latest=False)

    async def find(_settings: Any, names: list[str]) -> dict[str, Any]:
        return {name: show._Found(EMPTY, lags, found, summarise(found, 4096)) for name in names}

    monkeypatch.setattr(show, "_find", find)


def test_ten_thousand_partitions_are_summed_up_within_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    committed(10_000, monkeypatch)
    code, text, notes = run(capsys, "offsets", "show", "r")

    lines = text.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert "2,000,000,000" in text
    assert len(lines) < MOST_ROWS + 15
    assert "9,980 partitions with less left are not shown" in notes

    code, text, _ = run(capsys, "offsets", "show", "--json")
    shown = json.loads(text)["r"]
    assert shown["summary"]["partitions"] == len(shown["partitions"]) == 10_000
    assert "metadata" not in shown["partitions"][0]


def test_one_partitions_metadata_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    committed(3, monkeypatch)
    code, text, _ = run(capsys, "offsets", "show", "--partition", "1")

    assert code == 0
    assert "partition 1: 2 unfinished offsets up to 1000099999, the highest that is done" in text
    assert "unfinished: 1000000001, 1000090000" in text

    code, _, err = run(capsys, "offsets", "show", "--partition", "7")
    assert code == 2
    assert "no partition 7; it has 3" in err


def test_a_dry_run_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    edit = Edit(
        partition=3,
        before=OffsetAndMetadata(100, ""),
        after=OffsetAndMetadata(80, ""),
        again=20,
    )
    show_edits("r", "g", [edit], BUSY, is_done=False, json=False)
    captured = capsys.readouterr()

    assert "would change" in captured.out
    assert "20 records are done again" in captured.out
    assert "`headrace route pause r` first" in captured.err
    assert "--yes does it" in captured.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("seek",), "one of --to-offset"),
        (("seek", "--to-time", "soon"), "no ISO 8601 time"),
        (("seek", "--to-latest", "--route", "s"), "no route 's'"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "offsets", *arguments)

    assert code == 2
    assert problem in err


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pause]:
    kept: dict[str, Pause] = {}
    monkeypatch.setattr(route_command, "_joined", nullcontext)
    monkeypatch.setattr(pauses, "stored_pause", kept.get)
    monkeypatch.setattr(pauses, "pause_route", kept.__setitem__)
    monkeypatch.setattr(pauses, "resume_route", lambda route: kept.pop(route, None))
    return kept


def group_is(state: GroupState, monkeypatch: pytest.MonkeyPatch) -> None:
    async def until_empty(*_arguments: Any, **_options: Any) -> GroupState:
        return state

    monkeypatch.setattr(route_command, "_until_empty", until_empty)


def test_a_pause_keeps_its_beginning_and_ends_by_resume(
    stored: dict[str, Pause],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group_is(EMPTY, monkeypatch)
    code, text, _ = run(capsys, "route", "pause", "r", "--reason", "poison")
    first = stored["r"]
    assert code == 0
    assert "r is paused; group g is empty" in text
    assert first.reason == "poison"

    code, text, _ = run(capsys, "route", "pause", "r", "--json")
    assert stored["r"] == first
    assert json.loads(text)["group_state"] == "Empty"

    code, text, _ = run(capsys, "route", "resume", "r")
    assert (code, stored) == (0, {})
    assert "r goes on" in text
    assert "r was not paused" in run(capsys, "route", "resume", "r")[2]


def test_members_that_stay_are_named(
    stored: dict[str, Pause],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group_is(BUSY, monkeypatch)
    code, text, err = run(capsys, "route", "pause", "r")

    assert code == 1
    assert "2 members are still in group g" in text
    assert "10.0.0.8" in text
    assert "drain_timeout_s (30 s)" in " ".join(err.split())
    assert run(capsys, "route", "pause", "r", "--no-wait")[0] == 0
    assert "r" in stored


def test_a_route_that_is_not_there_is_not_paused(
    stored: dict[str, Pause], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "route", "pause", "s")

    assert (code, stored) == (2, {})
    assert "no route 's'" in err


def test_a_group_that_begins_with_an_edit_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    edit = Edit(partition=0, before=None, after=OffsetAndMetadata(80, ""))
    show_edits("r", "g", [edit], EMPTY, is_done=False, json=False, begins=12)
    notes = " ".join(capsys.readouterr().err.split())
    assert "the log ends of all 12 partitions would be committed first" in notes

    show_edits("r", "g", [edit], EMPTY, is_done=True, json=True, begins=12)
    assert json.loads(capsys.readouterr().out)["partitions_begun"] == 12


def test_what_an_open_transaction_hides_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    edit = Edit(partition=4, before=None, after=OffsetAndMetadata(80, ""), blocked=20)
    show_edits("r", "g", [edit], EMPTY, is_done=True, json=False)

    notes = " ".join(capsys.readouterr().err.split())
    assert "20 offsets behind open transactions, of partition 4, are not left out" in notes
