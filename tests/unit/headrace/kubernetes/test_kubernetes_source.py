"""Reading a settings file to render it, and reading it back in a pod."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from consumer.kafka.client.connection import client_options
from consumer.ports import SourceError
from headrace.kubernetes.app import application
from headrace.kubernetes.serve_config import serve_config
from headrace.kubernetes.source import SECRETS, parse_source, read_source
from headrace.settings.problems import SettingsError
from schemas.settings.file import KafkaSettings
from schemas.settings.secrets import SECRET_PATHS

SMALL = Path(__file__).parents[4] / "k8s" / "overlays" / "small" / "headrace.yaml"


def test_a_file_that_carries_a_secret_is_refused_without_quoting_it() -> None:
    text = SMALL.read_text().replace(
        "username: headrace", "username: headrace\n    password: hunter2"
    )

    with pytest.raises(SettingsError) as caught:
        parse_source(text.encode(), "headrace.yaml")

    [problem] = caught.value.problems
    assert problem.field == "kafka.sasl.password"
    assert "HEADRACE_KAFKA__SASL__PASSWORD" in problem.message
    assert "hunter2" not in str(problem)


def test_a_local_broker_is_no_cluster() -> None:
    root = Path(__file__).parents[4] / "headrace.yaml"

    with pytest.raises(SettingsError, match="external"):
        read_source(root)


def test_what_is_wrong_is_said_with_its_line() -> None:
    text = SMALL.read_text().replace("consumers: 1", "consumers: 0")

    with pytest.raises(SettingsError, match=r"headrace.yaml:\d+.*consumers"):
        parse_source(text.encode(), "headrace.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config"):
        read_source(tmp_path / "none.yaml")


def test_a_pod_has_its_secret_and_serve_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_source(SMALL)
    monkeypatch.setenv("HEADRACE_KAFKA__SASL__PASSWORD", "hunter2")
    monkeypatch.setenv("HEADRACE_CONFIG", "/etc/headrace/headrace.yaml")

    for config in serve_config(source.settings)["applications"]:
        built: Any = application(config["args"])._bound_deployment
        [declared] = config["deployments"]
        assert built.name == declared["name"]
        if "kafka" in config["args"]:
            kafka = built.init_kwargs["kafka"]
            # Serve stores the arguments: the replica finds the secret in its environment.
            reference = "${HEADRACE_KAFKA__SASL__PASSWORD}"
            assert kafka.sasl.password.get_secret_value() == reference
            assert (
                client_options(kafka.model_copy(update={"tls": None}))["sasl_plain_password"]
                == "hunter2"
            )
            assert kafka.bootstrap == source.settings.kafka.bootstrap
        if "model" in config["args"]:
            assert built.init_kwargs["settings"].kind == config["args"]["settings"]["kind"]


def test_a_pod_without_its_secret_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_KAFKA__SASL__PASSWORD", raising=False)

    built: Any = application(
        serve_config(read_source(SMALL).settings)["applications"][-1]["args"]
    )._bound_deployment
    with pytest.raises(SourceError, match=r"kafka\.sasl\.password.*HEADRACE_KAFKA__SASL__PASSWORD"):
        client_options(built.init_kwargs["kafka"].model_copy(update={"tls": None}))


def test_every_secret_of_the_settings_is_known() -> None:
    found = [
        *secret_fields(KafkaSettings, ("kafka",)),
        *secret_fields(KafkaSettings, ("results_kafka",)),
    ]
    assert set(SECRETS) == set(found)
    assert {each[1:] for each in found} == set(SECRET_PATHS)


def secret_fields(model: type[BaseModel], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        types: tuple[Any, ...] = get_args(field.annotation) or (field.annotation,)
        for each in types:
            if SecretStr in (each, *get_args(each)):
                found.append((*path, name))
            elif isinstance(each, type) and issubclass(each, BaseModel):
                found += secret_fields(each, (*path, name))
    return found
