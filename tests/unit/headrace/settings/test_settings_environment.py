"""The environment overrides the file, by names that match the file's."""

import pytest

from headrace.settings.file import parse_settings
from headrace.settings.problems import SettingsError
from schemas.settings.file import Settings

TEXT = b"""\
kafka: {bootstrap: "127.0.0.1:9092"}
models:
  all-minilm:
    kind: embedder
    source: wheel:x
    prompts: {query: "q: "}
routes:
  my-route:
    model: all-minilm
    requests_topic: in
    results_topic: out
    dead_letters_topic: dead
    group: g
"""


def parse(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return parse_settings(TEXT, "h.yaml")


def test_a_value_is_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse(monkeypatch, HEADRACE_KAFKA__BOOTSTRAP="kafka-1:9092,kafka-2:9092")

    assert settings.kafka.bootstrap == "kafka-1:9092,kafka-2:9092"


def test_dashes_of_names_are_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse(
        monkeypatch,
        HEADRACE_MODELS__ALL_MINILM__DTYPE="bfloat16",
        HEADRACE_MODELS__ALL_MINILM__REPLICAS="3",
        HEADRACE_MODELS__ALL_MINILM__NORMALIZE="false",
        HEADRACE_ROUTES__MY_ROUTE__FLOW__MAX_RECORDS="10",
    )

    model = settings.models["all-minilm"]
    assert model.kind == "embedder"
    assert (model.dtype, model.replicas, model.normalize) == ("bfloat16", 3, False)
    assert settings.routes["my-route"].flow.max_records == 10


def test_lists_and_mappings_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse(
        monkeypatch,
        HEADRACE_MODELS__ALL_MINILM__SERVED_NAMES='["a", "b"]',
        HEADRACE_MODELS__ALL_MINILM__PROMPTS__DOCUMENT="d: ",
    )

    model = settings.models["all-minilm"]
    assert model.kind == "embedder"
    assert model.served_names == ("a", "b")
    assert model.prompts == {"query": "q: ", "document": "d: "}


@pytest.mark.parametrize("password", ["0123", '{"a": 1}', "[x", "true", "null", " p "])
def test_a_password_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    settings = parse(
        monkeypatch,
        HEADRACE_KAFKA__SASL__USERNAME="bob",
        HEADRACE_KAFKA__SASL__PASSWORD=password,
    )

    assert settings.kafka.sasl is not None
    assert settings.kafka.sasl.password is not None
    assert settings.kafka.sasl.password.get_secret_value() == password


def test_a_new_model_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse(
        monkeypatch,
        HEADRACE_MODELS__BIG_ONE__KIND="embedder",
        HEADRACE_MODELS__BIG_ONE__SOURCE="hub:org/big",
    )

    assert "big-one" in settings.models


def test_other_variables_of_ours_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = parse(monkeypatch)

    assert parse(monkeypatch, HEADRACE_CONFIG="x.yaml", HEADRACE_TEST_BOOTSTRAP="y:1") == plain


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HEADRACE_KAFAK__BOOTSTRAP", "x:1", "no section 'kafak'; did you mean 'kafka'?"),
        ("HEADRACE_KAFKA", "{}", "set its keys one by one"),
        ("HEADRACE_MODELS__ALL_MINILN__DTYPE", "x", "did you mean 'all-minilm'?"),
        ("HEADRACE_ROUTES__OTHER__GROUP", "x", "the file has no routes.other"),
        (
            "HEADRACE_MODELS__ALL_MINILM__DTYPE",
            "bf16",
            "HEADRACE_MODELS__ALL_MINILM__DTYPE: models.all-minilm.dtype: 'bf16' is not one of",
        ),
        ("HEADRACE_MODELS__ALL_MINILM__DTYP", "bf16", "unknown key; did you mean 'dtype'?"),
        ("HEADRACE_MODELS__ALL_MINILM__SERVED_NAMES", '["a"', "is not JSON"),
        ("HEADRACE_KAFKA__SASL", "x", "kafka.sasl: the value (not shown)"),
    ],
)
def test_an_illegal_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(monkeypatch, **{variable: value})

    assert expected in str(caught.value)
    assert variable in str(caught.value)
