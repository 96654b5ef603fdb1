"""`headrace models`: which sources are meant, and what is said of each."""

import json
import re
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.cli.models.display import TransferLines, describe_bytes, describe_s
from serve_models.weights import pulling
from serve_models.weights.fetching.request import Fetched, Progress, Request
from serve_models.weights.receipts import Receipt, mark_files, receipt_file, write_receipt
from serve_models.weights.references import ModelSourceError, Source, parse_source
from tests.checkpoints import sharded, write_files

ROUTE = """
    requests_topic: {0}.requests
    results_topic: {0}.results
    dead_letters_topic: {0}.dead-letters
    group: {0}
"""
SETTINGS = (
    """
kafka: {{bootstrap: "k:9092"}}
weights: {{cache: {cache}}}
models:
  small: {{kind: embedder, source: "s3://bucket/small"}}
  chat:
    kind: generator
    source: s3://bucket/chat
    num_gpus: 1
    adapters: {{legal: "s3://bucket/legal"}}
    engine_args: {{speculative_config: {{model: "s3://bucket/draft"}}}}
  unused: {{kind: embedder, source: "s3://bucket/unused"}}
routes:
  embed:
    model: small"""
    + ROUTE.format("embed")
    + """
  talk:
    model: chat"""
    + ROUTE.format("talk")
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def config(tmp_path: Path, cache: Path) -> str:
    (tmp_path / "headrace.yaml").write_text(SETTINGS.format(cache=cache))
    return str(tmp_path / "headrace.yaml")


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Stands in for the object store; names in the set are missing there."""
    missing: set[str] = set()

    def fetch(
        source: Source,
        cache_dir: Path,
        request: Request,
        progress: Progress,
        known: Receipt | None,
    ) -> Fetched:
        if source.name in missing:
            raise ModelSourceError(f"source: {source.text} could not be read: NoSuchKey")
        directory = write_files(cache_dir / source.name, sharded())
        progress.begin(100)
        progress.advance(100)
        return Fetched(source.name, "v1", mark_files(directory, list(sharded())), 100)

    monkeypatch.setattr(pulling, "_FETCHES", {"s3": fetch})
    return missing


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["models", *arguments])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_a_pull_brings_all_that_the_settings_name_into_their_cache(
    capsys: pytest.CaptureFixture[str], config: str, cache: Path
) -> None:
    code, out, _ = run(capsys, "pull", "-c", config, "--json")

    assert code == 0
    assert {(each["model"], each["field"]): each["source"] for each in json.loads(out)} == {
        ("small", "source"): "s3://bucket/small",
        ("chat", "source"): "s3://bucket/chat",
        ("chat", "adapters.legal"): "s3://bucket/legal",
        ("chat", "engine_args.speculative_config.model"): "s3://bucket/draft",
        ("unused", "source"): "s3://bucket/unused",
    }
    assert all(Path(each["path"]).is_relative_to(cache) for each in json.loads(out))
    code, out, _ = run(capsys, "check", "-c", config, "--json")
    assert code == 0
    assert {each["checksums"] for each in json.loads(out)} == {"right"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--worker-group", "cpu"], {"small"}),
        # Ray places replicas without a GPU wherever there are CPUs.
        (["--worker-group", "gpu"], {"small", "chat", "legal", "draft"}),
        (["chat"], {"chat", "legal", "draft"}),
        (["unused", "s3://bucket/other"], {"unused", "other"}),
    ],
)
def test_some_models_or_what_a_worker_group_may_host(
    capsys: pytest.CaptureFixture[str], config: str, arguments: list[str], wanted: set[str]
) -> None:
    code, out, _ = run(capsys, "pull", *arguments, "-c", config, "--json")

    assert code == 0
    assert {each["source"].rpartition("/")[2] for each in json.loads(out)} == wanted


def test_a_table_says_what_was_done(capsys: pytest.CaptureFixture[str], config: str) -> None:
    code, out, _ = run(capsys, "pull", "small", "-c", config)
    assert code == 0
    assert "fetched 100 B" in " ".join(out.split())
    _, out, _ = run(capsys, "pull", "small", "--missing", "-c", config)
    assert "was here" in out


def test_one_failure_does_not_stop_the_others_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], config: str, bucket: set[str]
) -> None:
    bucket.add("bucket/chat")

    code, out, err = run(capsys, "pull", "-c", config, "--json")

    assert code == 1
    done = {each["source"]: each["done"] for each in json.loads(out)}
    assert done.pop("s3://bucket/chat") == "failed"
    assert set(done.values()) == {"fetched"}
    assert "error: models.chat.source: s3://bucket/chat could not be read" in err


def test_a_copy_that_could_not_be_refreshed_is_kept_and_said(
    capsys: pytest.CaptureFixture[str], config: str, bucket: set[str]
) -> None:
    run(capsys, "pull", "small", "-c", config)
    bucket.add("bucket/small")

    code, out, err = run(capsys, "pull", "small", "-c", config, "--json")

    assert code == 0
    assert json.loads(out)[0]["done"] == "kept"
    assert "the copy on this machine is used" in err


def test_list_and_check_show_what_is_missing_and_what_has_changed(
    capsys: pytest.CaptureFixture[str], config: str, cache: Path
) -> None:
    run(capsys, "pull", "small", "chat", "-c", config)
    shard = cache / "bucket" / "small" / "model-00001-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")

    code, out, _ = run(capsys, "list", "-c", config, "--json")
    assert code == 0
    assert {each["model"]: each["state"] for each in json.loads(out)} == {
        "small": "here",
        "chat": "here",
        "unused": "missing",
    }
    code, out, err = run(capsys, "check", "-c", config, "--json")
    assert code == 1
    states = {each["source"].rpartition("/")[2]: each["state"] for each in json.loads(out)}
    assert (states["small"], states["chat"], states["unused"]) == ("damaged", "here", "missing")
    assert "another checksum" in err
    code, _, _ = run(capsys, "check", "small", "--no-checksums", "-c", config)
    assert code == 0
    code, _, _ = run(capsys, "pull", "small", "--force", "-c", config)
    assert code == 0
    assert run(capsys, "check", "small", "-c", config)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pull", "smal"], "no model 'smal'.*small"),
        (["pull", "--worker-group", "gpus"], "no group 'gpus'.*gpu"),
        (["pull", "small", "--worker-group", "gpu"], "not both"),
        (["pull", "--missing", "--force"], "choose one"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], config: str, arguments: list[str], words: str
) -> None:
    code, _, err = run(capsys, *arguments, "-c", config)

    assert code == 2
    assert re.search(words, " ".join(err.split()))


def test_a_source_needs_no_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "c"))

    code, out, _ = run(capsys, "pull", "s3://bucket/x", "--json")

    assert code == 0
    assert json.loads(out)[0]["path"] == str(tmp_path / "c" / "bucket" / "x")


def test_lines_come_every_ten_seconds_with_rate_and_what_is_left() -> None:
    lines = TransferLines("chat", 1000 * 2**20, now=0.0)
    said = [lines.advance(10 * 2**20, now=float(second)) for second in range(1, 31)]

    assert [line for line in said if line is not None] == [
        "chat: 100.0 MiB of 1,000.0 MiB, 10.0 MiB/s, 2 min left",
        "chat: 200.0 MiB of 1,000.0 MiB, 10.0 MiB/s, 80 s left",
        "chat: 300.0 MiB of 1,000.0 MiB, 10.0 MiB/s, 70 s left",
    ]


def test_numbers_are_for_people() -> None:
    assert [describe_bytes(each) for each in (0, 1023, 1024, 5 * 2**20, 3.5 * 2**30)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.5 GiB",
    ]
    assert [describe_s(each) for each in (0.4, 89, 600, 7200)] == ["0 s", "89 s", "10 min", "2.0 h"]


def test_revisions_that_were_replaced_are_listed_and_then_removed(
    capsys: pytest.CaptureFixture[str], config: str, cache: Path
) -> None:
    run(capsys, "pull", "small", "-c", config)
    assert "Nothing in the cache" in run_ok(capsys, "prune", "-c", config)
    source = parse_source("s3://bucket/small")
    for revision in ("1", "2"):
        write_files(cache / "objects" / source.folder_name / revision, sharded())
    receipt = Receipt(
        source=source.text,
        revision="2",
        directory=f"objects/{source.folder_name}/2",
        files={},
    )
    write_receipt(receipt_file(cache, source, "weights", with_code=False), receipt)

    [listed] = json.loads(run_ok(capsys, "prune", "-c", config, "--json"))
    assert (Path(listed["path"]).name, listed["removed"]) == ("1", False)
    [removed] = json.loads(run_ok(capsys, "prune", "--yes", "-c", config, "--json"))
    assert removed["removed"] is True
    assert json.loads(run_ok(capsys, "prune", "-c", config, "--json")) == []


def run_ok(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    return out
