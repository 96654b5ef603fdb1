"""The settings that run, put together from what Serve has."""

import orjson
from pydantic import SecretStr

from consumer.kafka.client.connection import connection_of
from headrace.console.masking import MASK
from headrace.console.sources.running_settings import shown_settings
from headrace.service.applications import specs_of
from headrace.service.changes import RunningApplication
from headrace.settings.file import parse_settings
from schemas.settings.file import KafkaSettings, SaslSettings

TEXT = b"""\
kafka:
  bootstrap: kafka-1:9092
  sasl: {username: ana, password: the-secret-password}
models:
  texts: {kind: embedder, source: "wheel:x", replicas: 3, max_wait_ms: 7}
  mine:
    kind: custom
    import_path: "a:B"
    urls: [/v1/x]
    options: {api_key: "${KEY_OF_MINE}", size: 3, url: "https://x.example/?sig=the-secret-url"}
    autoscaling: {min_replicas: 1, max_replicas: 4}
routes:
  r:
    model: texts
    requests_topic: i
    results_topic: o
    dead_letters_topic: d
    group: g
    consumers: 2
    flow: {max_records: 100, fetch_max_bytes: 4096}
  s: {model: mine, requests_topic: j, results_topic: p, dead_letters_topic: d, group: h}
console: {read_token_env: READ}
"""


def running() -> dict[str, RunningApplication]:
    return {
        each.name: RunningApplication(built=each.built, live=each.live, options=each.options)
        for each in specs_of(parse_settings(TEXT))
    }


def test_what_runs_is_shown_as_the_file_has_it() -> None:
    settings = parse_settings(TEXT)
    shown = shown_settings(running(), {"kafka": settings.kafka}, settings.console)
    assert list(shown) == ["kafka", "models", "routes", "console"]
    assert shown["models"]["texts"]["replicas"] == 3
    assert shown["models"]["texts"]["max_wait_ms"] == 7
    assert shown["models"]["mine"]["autoscaling"] == {"min_replicas": 1, "max_replicas": 4}
    assert shown["routes"]["r"]["flow"] == {"max_records": 100, "fetch_max_bytes": 4096}
    assert shown["routes"]["r"]["consumers"] == 2
    assert shown["kafka"]["sasl"] == {"username": "ana", "password": MASK}
    assert shown["console"] == {"read_token_env": "READ"}


def test_no_secret_is_in_it() -> None:
    settings = parse_settings(TEXT)
    text = orjson.dumps(
        shown_settings(running(), {"kafka": settings.kafka}, settings.console)
    ).decode()
    assert "the-secret" not in text
    assert MASK in text


def test_clients_get_the_same_cluster() -> None:
    kafka = KafkaSettings(
        bootstrap="kafka-1:9092", sasl=SaslSettings(username="ana", password=SecretStr("pw"))
    )
    connection = connection_of(kafka)
    assert connection.bootstrap == "kafka-1:9092"
    assert connection.sasl is not None
    assert connection.sasl.password == "pw"
    assert connection.security_protocol == "SASL_PLAINTEXT"
