"""TLS and SASL of the section ``kafka``: what a client authenticates with, and where it is.

A secret is in the settings, in a file (``password_file``), or in the environment of the program
that connects (``${NAME}``). Files are read when a connection is made, and again when they change.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from headrace_client.errors import SettingsError
from headrace_client.logs.learned import learn_secrets
from headrace_client.sections import SectionReader

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
CLIENT_AUTH = ("basic", "post")
MAX_SECRET_BYTES = 64 * 1024

TLS_KEYS = (
    "ca_file",
    "cert_file",
    "key_file",
    "key_password",
    "key_password_file",
    "check_hostname",
)
SASL_KEYS = ("mechanism", "username", "password", "password_file", "oauth")
OAUTH_KEYS = (
    "token_url",
    "client_id",
    "client_secret",
    "client_secret_file",
    "client_auth",
    "scope",
    "audience",
    "ca_file",
    "extensions",
    "token_provider",
    "options",
)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_EXTENSION = re.compile(r"[A-Za-z]+")
_PROVIDER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def from_environment(text: str, setting: str) -> str:
    """Return ``text``, or what the variable has that it names as ``${NAME}``.

    ``SettingsError`` if there is no such variable; it names ``setting``.
    """
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return text
    value = os.environ.get(reference[1])
    if value is None:
        raise SettingsError(
            f"{setting}: {text} is not set in the environment of this process; set "
            f"{reference[1]} where it starts (for replicas: where Ray starts), or name a file"
        )
    return value


def read_secret(text: str | None, file: str | None, setting: str) -> str | None:
    """Return a secret of the settings, the environment or a file; ``None`` if there is none.

    Of a file the line end is left out. ``SettingsError`` names ``setting``, never the secret.
    """
    if file is None:
        found = None if text is None else from_environment(text, setting)
        learn_secrets(found or "")
        return found
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES + 1)
        if len(content) > MAX_SECRET_BYTES:
            raise SettingsError(f"{setting}_file: {file} is over {MAX_SECRET_BYTES:,} bytes")
        secret = content.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{setting}_file: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{setting}_file: {file} is not UTF-8 text") from None
    if not secret:
        raise SettingsError(f"{setting}_file: {file} is empty")
    learn_secrets(secret)
    return secret


def _check_one(section: str, key: str, text: str | None, file: str | None) -> None:
    if text is not None and file is not None:
        raise SettingsError(f"{section}.{key}: stands beside {key}_file; set one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the brokers; PEM files. Without ``ca_file`` the system's CAs count."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    key_password_file: str | None = None
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise SettingsError(
                "kafka.tls: cert_file and key_file go together: set both, or neither"
            )
        _check_one("kafka.tls", "key_password", self.key_password, self.key_password_file)

    @property
    def files(self) -> tuple[str, ...]:
        named = (self.ca_file, self.cert_file, self.key_file, self.key_password_file)
        return tuple(each for each in named if each is not None)

    def read_key_password(self) -> str | None:
        return read_secret(self.key_password, self.key_password_file, "kafka.tls.key_password")

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(TLS_KEYS)
        return cls(
            ca_file=section.optional_text("ca_file"),
            cert_file=section.optional_text("cert_file"),
            key_file=section.optional_text("key_file"),
            key_password=section.optional_text("key_password"),
            key_password_file=section.optional_text("key_password_file"),
            check_hostname=section.flag("check_hostname", default=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Where tokens come from: an OpenID provider, by client credentials, or a function.

    Attributes:
        token_url: The provider's token endpoint; https, or http on this machine.
        client_auth: How id and secret are sent: ``basic``, in a header, or ``post``, in the body.
        extensions: SASL extensions, such as Confluent Cloud's ``logicalCluster``.
        token_provider: ``package.module:function``, which is called with ``options`` and returns a
            token and the epoch seconds at which it expires; it may block.
    """

    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: str | None = None
    client_auth: str = "basic"
    scope: str | None = None
    audience: str | None = None
    ca_file: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    token_provider: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = "kafka.sasl.oauth"
        if (self.token_url is None) == (self.token_provider is None):
            raise SettingsError(
                f"{where}: name a token_url (an OpenID provider's token endpoint), or a "
                "token_provider (package.module:function)"
            )
        _check_one(where, "client_secret", self.client_secret, self.client_secret_file)
        if self.token_url is not None:
            _check_token_url(f"{where}.token_url", self.token_url)
            if self.client_id is None or not (self.client_secret or self.client_secret_file):
                raise SettingsError(
                    f"{where}: a token_url needs client_id, and client_secret or client_secret_file"
                )
        elif not _PROVIDER.fullmatch(self.token_provider or ""):
            raise SettingsError(
                f"{where}.token_provider: must be package.module:function, such as "
                "headrace_client.kafka.security.msk_iam:make_token"
            )
        for name, value in self.extensions.items():
            if not _EXTENSION.fullmatch(name) or name == "auth" or not value.isprintable():
                raise SettingsError(
                    f"{where}.extensions.{name}: a name has letters only, and is not auth; a value "
                    "has no control characters"
                )

    def read_client_id(self) -> str:
        return from_environment(self.client_id or "", "kafka.sasl.oauth.client_id")

    def read_client_secret(self) -> str:
        setting = "kafka.sasl.oauth.client_secret"
        return read_secret(self.client_secret, self.client_secret_file, setting) or ""

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(OAUTH_KEYS)
        return cls(
            token_url=section.optional_text("token_url"),
            client_id=section.optional_text("client_id"),
            client_secret=section.optional_text("client_secret"),
            client_secret_file=section.optional_text("client_secret_file"),
            client_auth=section.choice("client_auth", "basic", CLIENT_AUTH),
            scope=section.optional_text("scope"),
            audience=section.optional_text("audience"),
            ca_file=section.optional_text("ca_file"),
            extensions=section.texts_by_name("extensions"),
            token_provider=section.optional_text("token_provider"),
            options=section.mapping("options"),
        )


def _check_token_url(setting: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_place = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        is_place = False
    if not is_place or not url.isprintable() or " " in url:
        raise SettingsError(f"{setting}: is no URL of a host, https://HOST/PATH")
    if "@" in parts.netloc:
        raise SettingsError(
            f"{setting}: has a user or a password; take it out, and set client_id and "
            "client_secret_file"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise SettingsError(
            f"{setting}: must begin with https://, as the client's secret goes there; http:// is "
            "taken on this machine only"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """SASL authentication; ``oauth`` belongs to OAUTHBEARER, the rest to the other mechanisms."""

    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    oauth: OAuth | None = None

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise SettingsError(f"kafka.sasl.mechanism: must be one of {', '.join(MECHANISMS)}")
        if self.mechanism == "OAUTHBEARER":
            if self.oauth is None:
                raise SettingsError(
                    "kafka.sasl.oauth: is missing; OAUTHBEARER needs to know where tokens come from"
                )
            if self.username or self.password or self.password_file:
                raise SettingsError(
                    "kafka.sasl: OAUTHBEARER has no username and password; remove them, or set "
                    "another mechanism"
                )
            return
        if self.oauth is not None:
            raise SettingsError("kafka.sasl.oauth: needs mechanism OAUTHBEARER")
        if not self.username:
            raise SettingsError("kafka.sasl.username: is missing; set it")
        _check_one("kafka.sasl", "password", self.password, self.password_file)
        if self.password is None and self.password_file is None:
            raise SettingsError(
                "kafka.sasl.password: is missing; set it, or password_file, or "
                "HEADRACE_KAFKA__SASL__PASSWORD in the environment"
            )

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.password_file is None else (self.password_file,)

    def read_username(self) -> str:
        return from_environment(self.username or "", "kafka.sasl.username")

    def read_password(self) -> str:
        found = read_secret(self.password, self.password_file, "kafka.sasl.password")
        return found or ""

    @classmethod
    def from_section(cls, section: SectionReader) -> Self:
        section.check_keys(SASL_KEYS)
        oauth = section.section("oauth")
        return cls(
            mechanism=section.text("mechanism", "SCRAM-SHA-512"),
            username=section.optional_text("username"),
            password=section.optional_text("password"),
            password_file=section.optional_text("password_file"),
            oauth=None if oauth is None else OAuth.from_section(oauth),
        )
