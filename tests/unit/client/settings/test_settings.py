"""The client reads the service's settings file: the same keys, the same environment."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from headrace_client import (
    ClientSettings,
    Connection,
    Sasl,
    SettingsError,
    Tls,
    load_settings,
    security,
)
from headrace_client.settings import KAFKA_KEYS, parse_settings, read_content
from schemas.settings.file import (
    KafkaSettings,
    OAuthSettings,
    SaslSettings,
    Settings,
    TlsSettings,
)
from schemas.settings.models import CustomModelSettings

ROOT = Path(__file__).parents[4]

FILE = """
kafka:
  broker: external
  bootstrap: kafka-1:9092,[::1]:9093
  tls: {ca_file: ca.pem, check_hostname: false}
  sasl: {mechanism: PLAIN, username: u, password: p}
models:
  minilm: {kind: embedder, source: "hub:x/y", served_names: [mini, all-minilm]}
  gen: {kind: generator, source: "hub:x/z", adapters: {poet: "path:/p"}, engine_args: {a: 1}}
  own: {kind: custom, import_path: "a:B", urls: [/v1/own]}
routes:
  embeddings: {model: minilm, requests_topic: e.requests, results_topic: e.results,
    dead_letters_topic: e.dead-letters, control_topic: e.control, group: g, consumers: 3,
    reply_topics: ["e.results.*"], fail_with_result: false, flow: {max_records: 10}}
  chat: {model: gen, requests_topic: c.requests, results_topic: c.results,
    dead_letters_topic: c.dead-letters, group: h}
  own: {model: own, requests_topic: o.requests, results_topic: o.results,
    dead_letters_topic: o.dead-letters, group: i}
"""


def parse(text: str, environment: dict[str, str] | None = None) -> ClientSettings:
    return parse_settings(yaml.safe_load(text), environment or {})


def test_kafka_models_and_routes_are_read() -> None:
    settings = parse(FILE)

    assert settings.connection == Connection(
        bootstrap="kafka-1:9092,[::1]:9093",
        tls=Tls(ca_file="ca.pem", check_hostname=False),
        sasl=Sasl(mechanism="PLAIN", username="u", password="p"),
    )
    assert settings.connection.security_protocol == "SASL_SSL"
    route = settings.routes["embeddings"]
    assert route.requests_topic == "e.requests"
    assert route.control_topic == "e.control"
    assert route.models == ("minilm", "mini", "all-minilm")
    assert route.endpoints == {"/v1/embeddings", "/v1/rerank", "/v1/score"}
    assert route.reply_topics == ("e.results.*",)
    assert not route.fail_with_result
    assert settings.routes["chat"].models == ("gen", "poet")
    assert settings.routes["own"].endpoints == {"/v1/own"}


def test_the_shipped_settings_file_is_read() -> None:
    settings = load_settings(ROOT / "headrace.yaml", {})

    assert settings.routes["embeddings"].group == "headrace-embeddings"


def test_the_sections_have_the_keys_of_the_service() -> None:
    service = {
        KAFKA_KEYS: KafkaSettings.model_fields,
        security.TLS_KEYS: TlsSettings.model_fields,
        security.SASL_KEYS: SaslSettings.model_fields,
        security.OAUTH_KEYS: OAuthSettings.model_fields,
    }

    for keys, fields in service.items():
        assert set(keys) == set(fields)
    assert "results_kafka" in Settings.model_fields
    assert "urls" in CustomModelSettings.model_fields


def test_results_may_be_on_another_cluster() -> None:
    found = parse(FILE + "results_kafka: {bootstrap: 'other:9092', compression: zstd}")

    assert found.results_connection.bootstrap == "other:9092"
    assert found.results_connection.compression == "zstd"
    assert found.connection.bootstrap == "kafka-1:9092,[::1]:9093"
    assert parse(FILE).results_connection == parse(FILE).connection
    with pytest.raises(SettingsError, match=r"results_kafka\.bootstrap: 'x' is not HOST:PORT"):
        parse(FILE + "results_kafka: {bootstrap: x}")


def test_a_file_that_expands_without_end_is_refused() -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in pairwise("abcdefg")
    )
    with pytest.raises(SettingsError, match="nested or aliased past"):
        read_content(bomb.encode())
    with pytest.raises(SettingsError, match="nested or aliased past"):
        read_content(b"a: " + b"[" * 200 + b"]" * 200)


def test_the_environment_overrides_the_file() -> None:
    settings = parse(
        FILE,
        {
            "HEADRACE_KAFKA__BOOTSTRAP": "other:1",
            "HEADRACE_KAFKA__SASL__PASSWORD": "{secret",
            "HEADRACE_KAFKA__TLS__CHECK_HOSTNAME": "true",
            "HEADRACE_ROUTES__EMBEDDINGS__REQUESTS_TOPIC": "elsewhere",
            "HEADRACE_MODELS__MINILM__SERVED_NAMES": '["m"]',
            "HEADRACE_CONFIG": "whatever",
            "PATH": "/bin",
        },
    )

    assert settings.connection.bootstrap == "other:1"
    assert settings.connection.sasl is not None
    assert settings.connection.sasl.password == "{secret"
    assert settings.connection.tls is not None
    assert settings.connection.tls.check_hostname
    assert settings.routes["embeddings"].requests_topic == "elsewhere"
    assert settings.routes["embeddings"].models == ("minilm", "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafka: {bootstrap: localhost}", "kafka.bootstrap: 'localhost' is not HOST:PORT"),
        ("kafka: {bootstrap: '::1:9092'}", "write an IPv6 address as [::1]:9092"),
        ("kafka: {bootstrp: a:1}", "kafka.bootstrp: there is no such key; did you mean bootstrap?"),
        ("kafka: {sasl: {username: u}}", "kafka.sasl.password: is missing; set it"),
        ("kafka: {sasl: {username: u, password: 7}}", "kafka.sasl.password: must be text"),
        (
            "kafka: {sasl: {mechanism: GSSAPI, username: u, password: p}}",
            "kafka.sasl.mechanism: must be one of PLAIN",
        ),
        ("kafka: {tls: {cert_file: a}}", "cert_file and key_file go together"),
        ("kafka: {tls: {check_hostname: maybe}}", "kafka.tls.check_hostname: must be true or"),
        ("kafka: 7", "kafka: must be a mapping"),
        ("routes: {a: {requests_topic: r}}", "routes.a.results_topic: is missing"),
        (
            "routes: {a: {requests_topic: 'r r', results_topic: s}}",
            "routes.a.requests_topic: 'r r'",
        ),
        ("routes: {a: }", "routes.a: is empty"),
    ],
)
def test_a_wrong_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)

    assert message in str(caught.value)


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.yaml: cannot be read \(No such file"):
        load_settings(tmp_path / "nowhere.yaml", {})
    broken = tmp_path / "broken.yaml"
    broken.write_text("kafka: [1,\nroutes: {")
    with pytest.raises(SettingsError, match=r"broken.yaml: is not YAML in line 2"):
        load_settings(broken, {})


def test_no_secret_is_shown() -> None:
    settings = parse(FILE)

    assert "password=" not in repr(settings.connection.sasl)
    assert "'p'" not in repr(settings)
