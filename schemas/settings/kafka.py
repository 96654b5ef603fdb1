"""The sections ``kafka`` and ``results_kafka``: the clusters, and what authenticates there."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, PlainSerializer, SecretStr, model_validator

from schemas.settings.option_secrets import REFERENCE, check_no_secrets
from schemas.settings.section import Section

_BROKER = r"(\[[0-9A-Fa-f:.]+(%[^\s,:\]]+)?\]|[^\s,:\[\]]+):\d+"
_MASK = "**********"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_reference(secret: SecretStr) -> bool:
    """Whether a secret is none, but names the variable of the environment that has it."""
    return REFERENCE.fullmatch(secret.get_secret_value()) is not None


def _shown(secret: SecretStr | None) -> str | None:
    if secret is None:
        return None
    return secret.get_secret_value() if is_reference(secret) else _MASK


Secret = Annotated[
    SecretStr, PlainSerializer(_shown, return_type=str | None, when_used="json-unless-none")
]
"""A secret, or ``${NAME}``: then it is in the environment of the process that connects."""


def _one_of(key: str, secret: SecretStr | None, file: Path | None) -> None:
    if secret is not None and file is not None:
        raise ValueError(f"{key} and {key}_file: set one of them")


class TlsSettings(Section):
    """TLS to the brokers; PEM files, read again when they change."""

    ca_file: Path | None = Field(
        default=None, description="CA certificates; the system's where unset."
    )
    cert_file: Path | None = Field(default=None, description="Client certificate, for mutual TLS.")
    key_file: Path | None = Field(default=None, description="Client key, for mutual TLS.")
    key_password: Secret | None = Field(
        default=None, description="Password of the client key, or ${NAME} of the environment."
    )
    key_password_file: Path | None = Field(default=None, description="A file that has it.")
    check_hostname: bool = Field(
        default=True, description="Hold the certificate to the broker's name."
    )

    @model_validator(mode="after")
    def _key_with_certificate(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: set both, or neither")
        _one_of("key_password", self.key_password, self.key_password_file)
        return self


class OAuthSettings(Section):
    """Where OAUTHBEARER's tokens come from: an OpenID provider, or a function of your own."""

    token_url: str | None = Field(
        default=None,
        max_length=2048,
        description="An OpenID provider's token endpoint, asked by client credentials; https.",
    )
    client_id: str | None = Field(
        default=None, min_length=1, description="The client's id at the provider."
    )
    client_secret: Secret | None = Field(
        default=None, description="The client's secret, or ${NAME} of the environment."
    )
    client_secret_file: Path | None = Field(
        default=None, description="A file that has it, read for each token."
    )
    client_auth: Literal["basic", "post"] = Field(
        default="basic",
        description="How id and secret are sent: basic, in a header; post, in the body.",
    )
    scope: str | None = Field(default=None, description="Where the provider asks for one.")
    audience: str | None = Field(default=None, description="Where the provider asks for one.")
    ca_file: Path | None = Field(
        default=None, description="CA certificates of the provider; the system's where unset."
    )
    extensions: dict[str, str] = Field(
        default={},
        description="SASL extensions, such as Confluent Cloud's logicalCluster and identityPoolId.",
    )
    token_provider: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="package.module:function, imported and called with options in place of "
        "token_url; it returns a token and the epoch seconds at which it expires. For Amazon MSK: "
        "headrace_client.kafka.security.msk_iam:make_token.",
    )
    options: dict[str, JsonValue] = Field(
        default={}, description="Arguments of token_provider; no secrets: it finds them itself."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.token_url is None) == (self.token_provider is None):
            raise ValueError(
                "name a token_url (an OpenID provider's token endpoint), or a token_provider"
            )
        _one_of("client_secret", self.client_secret, self.client_secret_file)
        if self.token_url is not None:
            _check_token_url(self.token_url)
            has_secret = self.client_secret is not None or self.client_secret_file is not None
            if self.client_id is None or not has_secret:
                raise ValueError(
                    "a token_url needs client_id, and client_secret or client_secret_file"
                )
        check_no_secrets(self.options, fix="let the provider take it from a file or a variable")
        for name, value in self.extensions.items():
            if not re.fullmatch("[A-Za-z]+", name) or name == "auth" or not value.isprintable():
                raise ValueError(
                    f"extensions.{name}: a name has letters only, and is not auth; a value has no "
                    "control characters"
                )
        return self


def _check_token_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_place = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        is_place = False
    if not is_place or not url.isprintable() or " " in url:
        raise ValueError("token_url: is no URL of a host, https://HOST/PATH")
    if "@" in parts.netloc:
        raise ValueError(
            "token_url: has a user or a password; take it out, and set client_id and "
            "client_secret_file"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(
            "token_url: must begin with https://, as the client's secret goes there; "
            "http:// is taken on this machine only"
        )


class SaslSettings(Section):
    """SASL authentication."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        default="SCRAM-SHA-512", description="How the service proves who it is."
    )
    username: str | None = Field(default=None, description="Of all mechanisms but OAUTHBEARER.")
    password: Secret | None = Field(
        default=None, description="The user's password, or ${NAME} of the environment."
    )
    password_file: Path | None = Field(
        default=None, description="A file that has it, read again when it changes."
    )
    oauth: OAuthSettings | None = Field(default=None, description="Of OAUTHBEARER: the tokens.")

    @model_validator(mode="after")
    def _fits_its_mechanism(self) -> Self:
        if self.mechanism == "OAUTHBEARER":
            if self.oauth is None:
                raise ValueError("oauth is missing: OAUTHBEARER needs to know where tokens are")
            if self.username or self.password or self.password_file:
                raise ValueError(
                    "OAUTHBEARER has no username and no password: remove them, or set another "
                    "mechanism"
                )
            return self
        if self.oauth is not None:
            raise ValueError("oauth needs mechanism OAUTHBEARER")
        if not self.username:
            raise ValueError("username is missing; add it")
        _one_of("password", self.password, self.password_file)
        if self.password is None and self.password_file is None:
            raise ValueError(
                "password is missing: set password_file, or HEADRACE_KAFKA__SASL__PASSWORD in the "
                "environment"
            )
        return self


class KafkaSettings(Section):
    """The cluster, and which local broker `headrace up` starts where there is none."""

    broker: Literal["embedded", "kafka-home", "docker", "external"] = Field(
        default="external",
        description="external: connect to bootstrap. The others start a local broker there: "
        "embedded (a wheel, for trying out), kafka-home ($KAFKA_HOME, Java 17), docker.",
    )
    bootstrap: str = Field(
        default="127.0.0.1:9092",
        pattern=rf"^{_BROKER}(,{_BROKER})*$",
        description="HOST:PORT, or several parted by commas; an IPv6 address in brackets, "
        "[::1]:9092.",
    )
    tls: TlsSettings | None = Field(default=None, description="Present: the connection uses TLS.")
    sasl: SaslSettings | None = Field(default=None, description="Present: we authenticate by SASL.")
    client_rack: str | None = Field(
        default=None,
        min_length=1,
        description="Where the readers are, as brokers name it in broker.rack: they read replicas "
        "there (KIP-392). ${NAME} of the environment, where it differs by node.",
    )
    fetch_min_bytes: int = Field(
        default=1, ge=1, description="A fetch waits until there is so much to read."
    )
    fetch_max_wait_ms: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="And no longer than this. Unset: 500 for requests.",
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none",
        description="Of what is published here. A topic's compression.type compresses in the "
        "brokers instead.",
    )
    linger_ms: float = Field(
        default=0.0,
        ge=0,
        le=1_000,
        description="How long results gather before a batch of them goes out; with exactly_once "
        "see transactions.linger_ms.",
    )
    offset_metadata_max_bytes: int = Field(
        default=4096,
        ge=256,
        le=1_000_000,
        description="The brokers' offset.metadata.max.bytes, and no more: what the completion map "
        "may take.",
    )

    @model_validator(mode="after")
    def _local_brokers_are_plain(self) -> Self:
        if self.broker != "external" and (self.tls or self.sasl):
            raise ValueError(
                f"broker: a local {self.broker} broker has no tls and no sasl; remove both, "
                "or set broker to external"
            )
        return self

    @property
    def security_protocol(self) -> Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]:
        if self.sasl is not None:
            return "SASL_SSL" if self.tls is not None else "SASL_PLAINTEXT"
        return "SSL" if self.tls is not None else "PLAINTEXT"
