"""Whole jobs, against a cluster and a service in memory."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace_client.bulk.job import round_runner, running
from headrace_client.bulk.job.plan import OptionsError
from headrace_client.bulk.output.errors import ModelChangedError
from headrace_client.errors import ClientError
from headrace_client.wire.names import Place
from tests.unit.client.bulk.job.stand_ins import (
    REQUESTS,
    RESULTS,
    Cluster,
    connect,
    embed,
    run,
)


def texts_of(end: int, first: int = 0) -> list[str]:
    return [f"text {number}" for number in range(first, end)]


def write_lines(path: Path, texts: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    return path


def write_pairs(folder: Path, files: int) -> list[Path]:
    """Files of two rows each: rows of two files are never read at once."""
    return [
        write_lines(folder / f"in-{number:02}.jsonl", texts_of(2 * number + 2, 2 * number))
        for number in range(files)
    ]


def texts_in(out: Path) -> list[str]:
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows:
        assert row["embedding"] == [len(row["text"]), float(row["text"][-1])]
    return [row["text"] for row in rows]


def failed_in(out: Path) -> dict[int, dict[str, Any]]:
    path = Path(f"{out}.failed.jsonl")
    return {row["row"]: row for row in map(json.loads, path.read_text().splitlines())}


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def some_are_lost(requests: int, then: Callable[[], None]) -> Callable[[dict[str, Any]], Any]:
    """Answer so many requests; then do something, and answer no more."""
    left = [requests]

    def answer(line: dict[str, Any]) -> dict[str, Any] | None:
        left[0] -= 1
        if left[0] == -1:
            then()
        return embed(line) if left[0] >= 0 else None

    return answer


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_a_table_is_embedded(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "in.jsonl", texts_of(30))
    cluster = Cluster(embed)
    connect(monkeypatch, cluster)
    status, said = run([source], out)
    assert status == 0
    assert texts_in(out) == texts_of(30)
    assert len(cluster.lines) == 8
    assert said.reports[-1].state == "done"


def test_a_column_has_the_type_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("text,year\ntext 1,1999\ntext 2,2026\n")
    connect(monkeypatch, Cluster(embed))
    assert run([source], out, column="text", column_types={"year": "int64"})[0] == 0
    assert pq.read_table(out)["year"].to_pylist() == [1999, 2026]
    with pytest.raises(ClientError, match="column_types"):
        run([source], out, column="text")


class TestGoingOn:
    """A job that was interrupted while requests were out, and what happened meanwhile."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_lines(tmp_path / "in.jsonl", texts_of(30))

    @pytest.fixture
    def cluster(self, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
        cluster = Cluster(some_are_lost(3, interrupt))
        connect(monkeypatch, cluster)
        status, said = run([source], out)
        assert status == 130
        assert said.reports[-1].state == "interrupted"
        assert "the same command goes on" in said.text
        cluster.answer = embed
        return cluster

    def test_what_was_published_is_not_published_again(
        self, cluster: Cluster, source: Path, out: Path
    ) -> None:
        cluster.serve_all()
        assert run([source], out)[0] == 0
        assert texts_in(out) == texts_of(30)
        assert len(cluster.lines) == 8

    def test_results_that_retention_deleted_are_asked_for_again(
        self, cluster: Cluster, source: Path, out: Path
    ) -> None:
        cluster.serve_all()
        cluster.cut(RESULTS)
        status, said = run([source], out)
        assert status == 0
        assert texts_in(out) == texts_of(30)
        assert "are gone before this job read them" in said.text
        # What was written before, and only that, is not asked for again.
        assert 8 < len(cluster.lines) <= 8 + 2

    def test_a_results_topic_that_was_made_anew_is_noticed(
        self, cluster: Cluster, source: Path, out: Path
    ) -> None:
        cluster.make_anew(RESULTS)
        # It has as many records as the former one, so that all offsets are in range.
        for partition in (0, 1):
            for _ in range(9):
                cluster.append(RESULTS, partition, b"another job's", ())
        status, said = run([source], out)
        assert status == 0
        assert texts_in(out) == texts_of(30)
        assert "are gone before this job read them" in said.text

    @pytest.mark.parametrize("is_cut", [True, False])
    def test_requests_that_are_gone_are_sent_again(
        self, cluster: Cluster, source: Path, out: Path, is_cut: bool
    ) -> None:
        if is_cut:
            cluster.cut(REQUESTS)
        else:
            cluster.make_anew(REQUESTS)
        status, _ = run([source], out)
        assert status == 0
        assert texts_in(out) == texts_of(30)
        assert 8 < len(cluster.lines) <= 8 + 2

    def test_partitions_that_were_added_are_read(
        self, cluster: Cluster, source: Path, out: Path
    ) -> None:
        for topic in (REQUESTS, RESULTS):
            cluster.topics[topic].logs.append(type(cluster.topics[topic].logs[0])())
        cluster.serve_all()
        assert run([source], out)[0] == 0
        assert texts_in(out) == texts_of(30)
        assert len(cluster.lines) == 8

    def test_a_limit_below_what_was_read_is_an_error_that_says_so(
        self, cluster: Cluster, source: Path, out: Path
    ) -> None:
        assert cluster.lines
        for limit, says in ((5, "has written"), (14, "was sent before")):
            with pytest.raises(ClientError, match=says) as raised:
                run([source], out, limit=limit)
            assert "--limit" in str(raised.value)
        cluster.serve_all()
        assert run([source], out, limit=20)[0] == 0
        assert texts_in(out) == texts_of(20)
        assert run([source], out)[0] == 0
        assert texts_in(out) == texts_of(30)


def test_a_request_of_more_rows_than_this_process_may_hold_is_sent_again(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = write_pairs(tmp_path, 8)
    cluster = Cluster(some_are_lost(0, interrupt))
    connect(monkeypatch, cluster)
    assert run(sources, out)[0] == 130
    assert cluster.lines[0]["body"]["input"] == texts_of(4)
    for partition in (0, 1):
        cluster.append(RESULTS, partition, b"another job's", ())
    cluster.cut(RESULTS)
    cluster.answer = embed
    # A file's rows are read at a time, and there is room for no more.
    monkeypatch.setattr(round_runner, "_LEAST_HELD_BYTES", 1)
    monkeypatch.setattr(round_runner, "_ROWS_BYTES", 0)
    assert run(sources, out)[0] == 0
    assert texts_in(out) == texts_of(16)


def test_a_slow_request_stops_neither_reading_nor_sending(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = write_pairs(tmp_path, 16)
    first: list[dict[str, Any]] = []

    def answer(line: dict[str, Any]) -> dict[str, Any] | None:
        if line not in first and len(first) < 2:
            first.append(line)
            if len(first) == 2:
                # By then as much was read as may be read before it.
                asyncio.get_running_loop().call_later(0.2, serve, 1)
            return None
        if len(cluster.lines) == 6 and line is cluster.lines[5]:
            serve(0)
        return embed(line)

    def serve(number: int) -> None:
        cluster.serve(Place(REQUESTS, number, 0), first[number])

    cluster = Cluster(answer)
    connect(monkeypatch, cluster)
    assert run(sources, out)[0] == 0
    assert texts_in(out) == texts_of(32)


def test_a_results_topic_that_is_made_anew_meanwhile_costs_nothing_but_time(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_anew() -> None:
        cluster.make_anew(RESULTS)
        cluster.answer = embed

    cluster = Cluster(some_are_lost(3, make_anew))
    connect(monkeypatch, cluster)
    source = write_lines(tmp_path / "in.jsonl", texts_of(30))
    status, said = run([source], out)
    assert status == 0
    assert texts_in(out) == texts_of(30)
    assert "are gone before this job read them" in said.text


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("dedupe", [True, False])
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_killed_job_goes_on_from_whatever_checkpoint_it_had(
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    dedupe: bool,
    ordered: bool,
) -> None:
    """The state that lay on the disk at a request is all that the next process has."""
    texts = [f"text {number * 7 % 22}" for number in range(30)]
    # The lowest items have no answer yet, so that there is something to write above them.
    state, kept = Path(f"{out}.headrace"), tmp_path / "kept"

    def answer(line: dict[str, Any]) -> dict[str, Any] | None:
        if len(cluster.lines) == killed_at:
            shutil.copytree(state, kept)
            interrupt()
        if _has(line, "text 0", "text 10"):
            return None
        return embed(line)

    cluster = Cluster(answer)
    connect(monkeypatch, cluster)
    monkeypatch.setattr(running, "CHECKPOINT_EVERY_S", 0.0)
    source = write_lines(tmp_path / "in.jsonl", texts)
    options = {"ordered": ordered, "dedupe": dedupe, "window_requests": 4}
    assert run([source], out, **options)[0] == 130
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    cluster.answer = embed
    # What had no answer gets one, and the others are answered once more.
    cluster.serve_all()
    assert run([source], out, **options)[0] == 0
    found = texts_in(out)
    assert (found if ordered else sorted(found)) == (texts if ordered else sorted(texts))
    names = [line["custom_id"] for line in cluster.lines]
    assert len(names) == len(set(names)), "a request that was published is published again"


def test_a_model_that_was_changed_and_brought_back_stops_the_job_once(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(line: dict[str, Any]) -> dict[str, Any]:
        said = embed(line)
        if _has(line, "text 12"):
            for each in said["body"]["data"]:
                each["embedding"].append(0.0)
        return said

    cluster = Cluster(answer)
    connect(monkeypatch, cluster)
    source = write_lines(tmp_path / "in.jsonl", texts_of(30))
    for _ in range(2):
        with pytest.raises(ModelChangedError, match="Bring the former model back"):
            run([source], out)
    cluster.answer = embed
    assert run([source], out)[0] == 0
    assert texts_in(out) == texts_of(30)


class TestEnds:
    def test_rows_that_came_later_are_not_forgotten_when_the_broker_is_away(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = Cluster(embed)
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", texts_of(10))
        assert run([source], out)[0] == 0
        write_lines(source, texts_of(20))
        topics, cluster.topics = cluster.topics, {}
        with pytest.raises(KeyError):
            run([source], out)
        cluster.topics = topics
        assert run([source], out)[0] == 0
        assert texts_in(out) == texts_of(20)
        status, said = run([source], out)
        assert (status, "nothing is left to do" in said.text) == (0, True)

    def test_some_of_the_failed_rows_can_be_tried_again(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = Cluster(
            lambda line: "model_failed" if _has(line, "text 2", "text 17") else embed(line)
        )
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", texts_of(20))
        assert run([source], out)[0] == 3
        assert sorted(failed_in(out)) == [2, 17]
        cluster.answer = lambda line: "model_failed" if _has(line, "text 17") else embed(line)
        assert run([source], out, retry_failed=True, limit=10)[0] == 3
        assert sorted(failed_in(out)) == [17]
        # No row of OUT is taken for one that came later.
        assert run([source], out)[0] == 3
        assert texts_in(out) == [each for each in texts_of(20) if each != "text 17"]
        cluster.answer = embed
        assert run([source], out, retry_failed=True)[0] == 0
        assert texts_in(out) == texts_of(20)

    def test_an_input_of_failed_rows_only_ends(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = Cluster(embed)
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", ["", None, ""])
        assert run([source], out)[0] == 3
        assert texts_in(out) == []
        assert sorted(failed_in(out)) == [0, 1, 2]
        assert cluster.lines == []

    def test_a_failed_row_that_others_repeat_fails_them_all_and_is_asked_for_once(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = Cluster(lambda line: "model_failed" if _has(line, "text 0") else embed(line))
        connect(monkeypatch, cluster)
        texts = [f"text {number % 10}" for number in range(40)]
        source = write_lines(tmp_path / "in.jsonl", texts)
        assert run([source], out)[0] == 3
        assert sorted(failed_in(out)) == [0, 10, 20, 30]
        assert sum(line["body"]["input"] == ["text 0"] for line in cluster.lines) == 1
        cluster.answer = embed
        assert run([source], out, retry_failed=True)[0] == 0
        assert texts_in(out) == texts

    def test_rows_expire_with_the_job_and_do_not_fail(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answered = some_are_lost(3, lambda: None)
        cluster = Cluster(lambda line: answered(line) or "request_expired")
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", texts_of(30))
        status, said = run([source], out, deadline="1h")
        assert status == 4
        assert "the deadline has passed" in said.text
        assert said.reports[-1].state == "expired"
        assert said.reports[-1].rows_failed == 0
        cluster.answer = embed
        assert run([source], out, deadline="2h")[0] == 0
        assert texts_in(out) == texts_of(30)

    def test_rows_that_the_service_cancelled_do_not_fail(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = Cluster(lambda _line: "request_cancelled")
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", texts_of(30))
        status, said = run([source], out)
        assert (status, said.reports[-1].state) == (4, "cancelled")
        cluster.answer = embed
        assert run([source], out)[0] == 0
        assert texts_in(out) == texts_of(30)

    def test_an_answer_in_an_object_store_fails_its_row_and_says_where_it_lies(
        self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = {"body_ref": {"url": "s3://b/1", "size_bytes": 9, "sha256": "0"}}
        cluster = Cluster(
            lambda line: (
                elsewhere if len(line["body"]["input"]) > 2 or _has(line, "text 5") else embed(line)
            )
        )
        connect(monkeypatch, cluster)
        source = write_lines(tmp_path / "in.jsonl", texts_of(8))
        assert run([source], out)[0] == 3
        ((row, failed),) = failed_in(out).items()
        assert (row, failed["code"]) == (5, "body_in_object_store")
        assert "s3://b/1" in failed["message"]
        assert "--retry-failed" in failed["message"]


def _has(line: dict[str, Any], *texts: str) -> bool:
    return any(each in texts for each in line["body"]["input"])


@pytest.mark.parametrize("name", ["a/b", "x\ny"])
def test_a_job_whose_name_no_request_could_carry_is_refused(
    name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, Cluster(embed))
    source = write_lines(tmp_path / "in.jsonl", texts_of(3))
    with pytest.raises(OptionsError, match="--job"):
        run([source], out, job=name)


def test_a_name_with_quotes_is_found_on_both_topics(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(some_are_lost(3, interrupt))
    connect(monkeypatch, cluster)
    source = write_lines(tmp_path / "in.jsonl", texts_of(30))
    assert run([source], out, job='his "own"')[0] == 130
    cluster.answer = embed
    cluster.serve_all()
    assert run([source], out, job='his "own"')[0] == 0
    assert texts_in(out) == texts_of(30)
    assert len(cluster.lines) == 8
