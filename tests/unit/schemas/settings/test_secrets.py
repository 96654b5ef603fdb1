"""What replicas get in place of secrets; which clusters there may be."""

import pytest
from pydantic import SecretStr, ValidationError

from headrace.topics import topics_by_cluster
from headrace_client.errors import SettingsError
from headrace_client.security import OAuth
from schemas.settings.file import KafkaSettings, SaslSettings, Settings, TlsSettings
from schemas.settings.kafka import OAuthSettings
from schemas.settings.live import plain
from schemas.settings.models import CustomModelSettings, GeneratorSettings
from schemas.settings.secrets import RESULTS_KAFKA, own_secrets, with_references

ROUTE = {
    "model": "m", "group": "g", "requests_topic": "in", "results_topic": "out",
    "dead_letters_topic": "dead", "control_topic": "control", "reply_topics": ["replies"],
}  # fmt: skip
OAUTH = {"token_url": "https://id.example/t", "client_id": "c", "client_secret": "third"}
CLUSTERS = {
    "kafka": {
        "tls": {"cert_file": "c", "key_file": "k", "key_password": "second"},
        "sasl": {"username": "bob", "password": "first"},
    },
    "results_kafka": {"sasl": {"mechanism": "OAUTHBEARER", "oauth": OAUTH}},
}


def settings(**changes: object) -> Settings:
    model = {"kind": "embedder", "source": "wheel:x"}
    return Settings.model_validate({"models": {"m": model}, "routes": {"r": ROUTE}, **changes})


def test_each_secret_becomes_the_name_of_its_variable() -> None:
    found = settings(**CLUSTERS)
    assert found.results_kafka is not None

    assert own_secrets(found) == {
        "HEADRACE_KAFKA__SASL__PASSWORD": "first",
        "HEADRACE_KAFKA__TLS__KEY_PASSWORD": "second",
        "HEADRACE_RESULTS_KAFKA__SASL__OAUTH__CLIENT_SECRET": "third",
    }
    kafka = plain(with_references(found.kafka))
    results = plain(with_references(found.results_kafka, RESULTS_KAFKA))
    assert kafka["sasl"]["password"] == "${HEADRACE_KAFKA__SASL__PASSWORD}"
    assert kafka["tls"]["key_password"] == "${HEADRACE_KAFKA__TLS__KEY_PASSWORD}"
    variable = "${HEADRACE_RESULTS_KAFKA__SASL__OAUTH__CLIENT_SECRET}"
    assert results["sasl"]["oauth"]["client_secret"] == variable
    # They come back as they were sent.
    assert KafkaSettings.model_validate(kafka) == with_references(found.kafka)


def test_a_secret_is_masked_and_a_reference_is_shown() -> None:
    kafka = KafkaSettings(sasl=SaslSettings(username="u", password=SecretStr("hush")))
    named = KafkaSettings(sasl=SaslSettings(username="u", password=SecretStr("${MINE}")))

    assert "hush" not in kafka.model_dump_json()
    assert plain(named)["sasl"]["password"] == "${MINE}"
    assert with_references(named) == named


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"username": "u"}, "password is missing"),
        ({"password": "p"}, "username is missing"),
        ({"username": "u", "password": "p", "password_file": "f"}, "set one of them"),
        ({"mechanism": "OAUTHBEARER"}, "oauth is missing"),
        ({"mechanism": "OAUTHBEARER", "username": "u", "oauth": OAUTH}, "no username"),
        ({"username": "u", "password": "p", "oauth": OAUTH}, "needs mechanism OAUTHBEARER"),
        ({"mechanism": "OAUTHBEARER", "oauth": {"client_id": "c"}}, "name a token_url"),
        (
            {"mechanism": "OAUTHBEARER", "oauth": OAUTH | {"token_url": "http://id.example"}},
            "must begin with https://",
        ),
    ],
)
def test_sasl_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SaslSettings.model_validate(values)


def test_a_key_has_one_password() -> None:
    with pytest.raises(ValidationError, match="set one of them"):
        TlsSettings.model_validate(
            {"cert_file": "c", "key_file": "k", "key_password": "p", "key_password_file": "f"}
        )


def test_topics_are_where_they_are_read_or_written() -> None:
    one, two = topics_by_cluster(settings(**CLUSTERS))

    assert (one.section, set(one.wanted)) == ("kafka", {"in", "control", "headrace.jobs"})
    assert (two.section, set(two.wanted)) == ("results_kafka", {"out", "dead", "replies"})
    [all_of_them] = topics_by_cluster(settings())
    assert set(all_of_them.wanted) == {*one.wanted, *two.wanted}


def test_a_transaction_lives_in_one_cluster() -> None:
    route = ROUTE | {"delivery": "exactly_once"}

    with pytest.raises(ValidationError, match=r"routes\.r\.delivery: exactly_once cannot be kept"):
        settings(routes={"r": route}, results_kafka={})
    assert settings(routes={"r": route}).results_cluster == KafkaSettings()


def test_only_the_first_cluster_may_be_a_local_broker() -> None:
    with pytest.raises(ValidationError, match=r"results_kafka\.broker"):
        settings(results_kafka={"broker": "embedded"})


@pytest.mark.parametrize(
    "options",
    [
        {"password": "x"},
        {"a": {"db_password": "x"}},
        {"a": [{"api_key": "x"}]},
        {"token": "x"},
        {"a": {"authToken": "x"}},
        {"passphrase": "x"},
        {"DB_PWD": "x"},
        {"password2": 12345678},
        {"secret": {"value": "x"}},
        {"passwords": ["x", "y"]},
        {"private_key": {"pem": ["x"]}},
        {"args": ["--port", 1, "--token", "x"]},
        {"args": ["--api-key=x"]},
        {"url": "postgres://anna:x@host/db"},
    ],
)
def test_options_of_custom_models_hold_no_secrets(options: dict[str, object]) -> None:
    model = {"kind": "custom", "import_path": "a:B", "urls": ["/v1/x"]}

    with pytest.raises(ValidationError, match="Ray would store this secret"):
        CustomModelSettings.model_validate({**model, "options": options})
    CustomModelSettings.model_validate(
        {
            **model,
            "options": {
                "password": "${MINE}",
                "secret": {"file": "/f", "value": "${MINE}"},
                "eos_token": "</s>",
                "stop_tokens": ["</s>"],
                "max_tokens": 512,
                "secret_file": "/f",
                "key": "x",
                "use_token": True,
                "args": ["--tokenizer", "x", "--token-file", "/f", "-v"],
                "url": "https://host/a@b",
            },
        }
    )


@pytest.mark.parametrize("options", [{"password": "x"}, {"a": {"client_secrets": ["x"]}}])
def test_options_of_a_token_provider_hold_no_secrets(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"options\.\S+: Ray would store this secret"):
        OAuthSettings.model_validate({"token_provider": "a:b", "options": options})
    OAuthSettings.model_validate({"token_provider": "a:b", "options": {"region": "eu-1"}})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://anna:pw@id.example/t", "has a user or a password"),
        ("https://anna@id.example/t", "has a user or a password"),
        ("http://localhost:80@evil.example/t", "has a user or a password"),
        ("http://localhost.evil.example/t", "must begin with https"),
        ("http://localhost\\.evil.example/t", "must begin with https"),
        ("ftp://localhost/t", "must begin with https"),
        ("https:///t", "no URL of a host"),
        ("https://id.example:port/t", "no URL of a host"),
        ("https://id.exa\nmple/t", "no URL of a host"),
    ],
)
def test_a_token_url_names_a_host_and_nobody(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OAuthSettings.model_validate(OAUTH | {"token_url": url})
    with pytest.raises(SettingsError, match=message):
        OAuth(token_url=url, client_id="c", client_secret="third")


@pytest.mark.parametrize(
    "url", ["https://id.example/t", "http://127.0.0.1:1/t", "http://localhost", "http://[::1]:8/t"]
)
def test_https_or_this_machine_is_taken(url: str) -> None:
    OAuthSettings.model_validate(OAUTH | {"token_url": url})
    OAuth(token_url=url, client_id="c", client_secret="third")


def test_nor_do_the_arguments_of_vllm() -> None:
    model = {"kind": "generator", "source": "hub:x/y"}

    with pytest.raises(ValidationError, match="HF_TOKEN"):
        GeneratorSettings.model_validate({**model, "engine_args": {"hf_token": "hf_x"}})
    nested = {"model_loader_extra_config": {"aws_secret_access_key": "x"}}
    with pytest.raises(ValidationError, match=r"engine_args\.\S+: Ray would store this secret"):
        GeneratorSettings.model_validate({**model, "engine_args": nested})
