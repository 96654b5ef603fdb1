"""What a look at the surroundings of a service finds, and what it says to do."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from consumer.kafka.admin.admin import TopicInfo
from headrace.preflight.broker import ClusterView, broker_findings
from headrace.preflight.findings import Finding, errors_of
from headrace.preflight.generators import rehearsal_finding
from headrace.preflight.gpus import GpusFound, asks_for_gpus, gpu_findings, uncounted_gpus
from headrace.preflight.table import findings_table
from headrace.preflight.weights import bytes_of, find_weights, is_any_missing, weight_findings
from headrace_client.kafka.rights import operations_of
from schemas.settings.file import Settings

GIB = 2**30
ROUTE = {
    "requests_topic": "in",
    "results_topic": "out",
    "dead_letters_topic": "dead",
    "group": "g",
}


def settings_of(model: dict[str, Any], **route: Any) -> Settings:
    return Settings.model_validate(
        {"models": {"m": model}, "routes": {"r": {"model": "m", **ROUTE, **route}}}
    )


def embedder(**values: Any) -> Settings:
    return settings_of({"kind": "embedder", "source": "wheel:x", **values})


def generator(**values: Any) -> Settings:
    return settings_of({"kind": "generator", "source": "hub:a/b", "num_gpus": 1, **values})


ONE = GpusFound((1.0,), smallest_bytes=80 * GIB)
NONE = GpusFound((0.0,))
CPU_BUILD = GpusFound((0.0,), has_cuda=False)
EMPTY_CLUSTER = GpusFound((0.0, 0.0), is_cluster=True)
TWO_NODES = GpusFound((4.0, 4.0), is_cluster=True)


@pytest.mark.parametrize(
    ("settings", "found", "level", "words"),
    [
        (generator(), ONE, "ok", "1 of 1 on this machine"),
        (embedder(num_gpus=0.25, replicas=4), ONE, "ok", "1 of 1"),
        (generator(), NONE, "error", "has no GPU; set num_gpus to 0"),
        (generator(), CPU_BUILD, "error", "PyTorch here is a CPU build"),
        (generator(), EMPTY_CLUSTER, "warning", "the Ray cluster that runs here has no GPU"),
        (generator(replicas=2), ONE, "error", "ask for 2 GPUs in all, and this machine has 1"),
        (
            generator(engine_args={"tensor_parallel_size": 8}),
            TWO_NODES,
            "warning",
            "needs 8 GPUs of one node, and the largest of the Ray cluster that runs here has 4",
        ),
        (
            generator(engine_args={"tensor_parallel_size": 8}, placement_strategy="PACK"),
            TWO_NODES,
            "ok",
            "8 of 8",
        ),
        (generator(engine_args={"pipeline_parallel_size": 8}), TWO_NODES, "ok", "8 of 8"),
    ],
)
def test_gpus_that_are_not_there_are_found(
    settings: Settings, found: GpusFound, level: str, words: str
) -> None:
    assert asks_for_gpus(settings)
    [finding] = gpu_findings(settings, found, {})
    assert finding.level == level
    assert words in str(finding)
    assert finding.fix or level == "ok"


def test_weights_larger_than_the_gpus_memory_are_found() -> None:
    def levels(weights_gib: int, **values: Any) -> list[str]:
        found = GpusFound((4.0,), smallest_bytes=80 * GIB)
        findings = gpu_findings(generator(**values), found, {"m": weights_gib * GIB})
        return [each.level for each in findings]

    assert levels(70) == ["ok"]
    assert levels(76) == ["error"]
    assert levels(140, engine_args={"tensor_parallel_size": 2}) == ["ok"]
    assert levels(60, engine_args={"gpu_memory_utilization": 0.5}) == ["error"]
    assert levels(50, num_gpus=0.5) == ["error"]


def test_a_model_on_a_gpu_that_ray_does_not_count_is_warned_of() -> None:
    [warning] = uncounted_gpus(embedder(device="cuda"))
    assert (warning.level, warning.where) == ("warning", "models.m.device")
    assert "set num_gpus" in warning.fix
    for values in ({"device": "cuda", "num_gpus": 0.5}, {"device": "cpu"}, {}):
        assert not uncounted_gpus(embedder(**values))


def test_models_on_cpus_ask_for_no_gpu() -> None:
    assert not asks_for_gpus(embedder())
    assert gpu_findings(embedder(), GpusFound(()), {}) == []


NO_TENSORS = struct.pack("<Q", 2) + b"{}"


def test_missing_weights_are_errors_here_and_warnings_where_other_nodes_may_have_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.safetensors").write_bytes(NO_TENSORS)
    here = embedder(source=f"path:{tmp_path}")
    found = find_weights(here)
    assert [each.level for each in weight_findings(here, found, is_cluster=False)] == ["ok"]
    assert bytes_of(found[f"path:{tmp_path}"]) == len(NO_TENSORS)

    gone = embedder(source=f"path:{tmp_path}/gone")
    assert is_any_missing(gone, find_weights(gone))
    for is_cluster, level in ((False, "error"), (True, "warning")):
        [finding] = weight_findings(gone, {}, is_cluster=is_cluster)
        assert (finding.level, finding.where) == (level, "models.m.source")
        assert "there is no directory" in finding.says


def test_weights_are_looked_for_where_the_settings_have_them(tmp_path: Path) -> None:
    revision = "0" * 40
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(NO_TENSORS)
    settings = embedder(source=f"hub:org/name@{revision}")
    assert find_weights(settings) == {}
    weights = settings.weights.model_copy(update={"cache": tmp_path})
    settings = settings.model_copy(update={"weights": weights})
    assert list(find_weights(settings).values()) == [snapshot]
    # A pull that was interrupted leaves such a file.
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    (blobs / "abc.incomplete").touch()
    assert find_weights(settings) == {}


def test_a_template_that_is_missing_is_found(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(NO_TENSORS)
    settings = generator(source=f"path:{tmp_path}", chat_template=str(tmp_path / "t.jinja"))
    findings = weight_findings(settings, find_weights(settings), is_cluster=False)
    [error] = errors_of(findings)
    assert error.where == "models.m.chat_template"


THERE = TopicInfo(4, 1)
ALL = frozenset({"READ", "WRITE", "DESCRIBE"})
REGISTRY = "headrace.jobs"


def view(**changes: Any) -> ClusterView:
    names = ("in", "out", "dead", REGISTRY)
    values: dict[str, Any] = {
        "topics": dict.fromkeys(names, THERE),
        "topic_rights": dict.fromkeys(names, ALL),
        "group_rights": {"g": ALL},
        **changes,
    }
    return ClusterView(**values)


def test_topics_and_rights_that_suffice_are_told_of() -> None:
    settings = embedder()
    assert settings.jobs.topic == REGISTRY
    findings = broker_findings(settings, view())
    assert [(each.level, each.about) for each in findings] == [("ok", "topics"), ("ok", "rights")]


@pytest.mark.parametrize(
    ("changes", "about", "where", "words"),
    [
        (
            {
                "topics": {"in": THERE, "out": None},
                "uncreatable": {"out": "TopicAuthorization: no"},
            },
            "topics",
            "out",
            "brokers would not create it: TopicAuthorization: no",
        ),
        (
            {"topics": {"in": THERE, "out": None}, "hidden": frozenset({"out"})},
            "topics",
            "out",
            "this user may not see it",
        ),
        (
            {"topic_rights": {"in": ALL, "out": frozenset({"DESCRIBE"})}},
            "rights",
            "topic out",
            "this user lacks Write",
        ),
        (
            {"topic_rights": {"in": frozenset({"WRITE"})}},
            "rights",
            "topic in",
            "this user lacks Read and Describe",
        ),
        ({"group_rights": {"g": frozenset()}}, "rights", "group g", "this user lacks Read"),
    ],
)
def test_what_keeps_topics_from_being_used_is_found(
    changes: dict[str, Any], about: str, where: str, words: str
) -> None:
    [error] = errors_of(broker_findings(embedder(), view(**changes)))
    assert (error.about, error.where) == (about, where)
    assert words in error.says
    assert error.fix


def test_topics_that_brokers_would_create_are_no_problem() -> None:
    findings = broker_findings(embedder(), view(topics={"in": THERE}, topic_rights={}))
    assert not errors_of(findings)
    assert any(each.says == "will be created" and "dead" in each.where for each in findings)


def test_the_registry_of_jobs_is_not_needed() -> None:
    topics = dict.fromkeys(("in", "out", "dead"), THERE)
    findings = broker_findings(
        embedder(), view(topics=topics, uncreatable={REGISTRY: "TopicAuthorizationFailed"})
    )
    [warning] = [each for each in findings if each.level != "ok"]
    assert (warning.level, warning.where) == ("warning", REGISTRY)


def test_operations_are_read_from_their_bits() -> None:
    assert operations_of((1 << 3) | (1 << 8)) == frozenset({"READ", "DESCRIBE"})
    assert operations_of(0) == frozenset()
    assert operations_of(-(2**31)) is None


def test_what_vllm_says_of_arguments_becomes_a_finding() -> None:
    refused = rehearsal_finding(
        "chat",
        {"problem": "engine_args.max_seqs: vLLM has no such argument", "unseen": "", "facts": {}},
    )
    assert (refused.level, refused.where) == ("error", "models.chat.engine_args.max_seqs")
    taken = rehearsal_finding("chat", {"problem": "", "unseen": "", "facts": {"max_num_seqs": 256}})
    assert (taken.level, taken.says) == ("ok", "max_num_seqs 256")
    unseen = rehearsal_finding("chat", {"problem": "", "unseen": "no device here", "facts": {}})
    assert unseen.level == "warning"


def test_the_table_fits_a_narrow_terminal_and_cuts_nothing() -> None:
    finding = Finding(
        "error",
        "GPUs",
        "models.a-model-with-quite-a-long-name.num_gpus",
        "is 1, and this machine has no GPU",
        "set num_gpus to 0 to run it on a CPU",
    )
    shown = io.StringIO()
    Console(file=shown, width=80).print(findings_table([finding]))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    # Cells are folded: what they say is there, over several lines.
    letters = "".join(shown.getvalue().split()).replace("│", "")
    assert "num_gpus" in letters
    assert "setnum_gpusto0" in letters
