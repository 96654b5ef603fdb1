"""The console: a page on what the service does."""

from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.settings.section import Section

CONSOLE_PORT = 8270
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class ConsoleTlsSettings(Section):
    """TLS of the console; PEM files on the node of Ray's head."""

    cert_file: Path = Field(description="Certificate, with those that vouch for it.")
    key_file: Path = Field(description="Its private key, without a password.")


class ConsoleSettings(Section):
    """The console, a page and a JSON API; it runs on the node of Ray's head."""

    enabled: bool = Field(default=True, description="false: there is no console.")
    host: str = Field(
        default="127.0.0.1",
        pattern=r"^[A-Za-z0-9.:-]+$",
        description="The address that it binds. One that other machines reach needs a read token.",
    )
    port: int = Field(default=CONSOLE_PORT, ge=0, le=65_535, description="0: a free one.")
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[A-Za-z0-9.\[\]:-]+$",
        description="Where browsers reach it, if a proxy stands before it: "
        "https://headrace.example.com. One that is not this machine's own needs a read token. With "
        "https its cookies are sent over TLS only.",
    )
    tls: ConsoleTlsSettings | None = Field(default=None, description="Unset: plain HTTP.")
    read_token_file: Path | None = Field(
        default=None,
        description="A file with the token for reading, of 16 characters or more. A token is read "
        "where the console runs, and again when it changes.",
    )
    read_token_env: str | None = Field(
        default=None,
        pattern=_VARIABLE,
        description="Or the environment variable that has it, where the console runs.",
    )
    act_token_file: Path | None = Field(
        default=None,
        description="As read_token_file, the token for replays and for what stops a job; it reads "
        "too. Where only the token for reading is set, nobody acts.",
    )
    act_token_env: str | None = Field(
        default=None, pattern=_VARIABLE, description="As read_token_env."
    )

    @property
    def is_loopback(self) -> bool:
        return _is_loopback(self.host)

    @property
    def has_read_token(self) -> bool:
        return self.read_token_file is not None or self.read_token_env is not None

    @property
    def url(self) -> str:
        """Where a browser reaches it, on the node of Ray's head where nothing stands before it."""
        if self.public_url is not None:
            return self.public_url
        scheme = "http" if self.tls is None else "https"
        host = self.host if self.is_loopback else "127.0.0.1"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @model_validator(mode="after")
    def _one_source_of_a_token(self) -> Self:
        for name in ("read_token", "act_token"):
            if None not in (getattr(self, f"{name}_file"), getattr(self, f"{name}_env")):
                raise ValueError(f"{name}_file and {name}_env: set one of them")
        return self

    @field_validator("public_url")
    @classmethod
    def _has_a_host(cls, url: str | None) -> str | None:
        if url is not None and not _host_of(url):
            raise ValueError(f"{url} has no host: write https://headrace.example.com")
        return url

    @model_validator(mode="after")
    def _others_need_a_token(self) -> Self:
        if not self.enabled or self.has_read_token:
            return self
        needed = (
            "so that the console needs tokens: set read_token_file or read_token_env (and "
            "act_token_file or act_token_env, for those who may act)"
        )
        if not self.is_loopback:
            raise ValueError(
                f"host: other machines reach {self.host}, {needed}, or host: 127.0.0.1"
            )
        # A proxy on this machine hands on what others ask, and to it they look like this machine.
        if self.public_url is not None and not _is_loopback(_host_of(self.public_url)):
            raise ValueError(
                f"public_url: other machines reach {self.public_url}, {needed}, or leave "
                "public_url out"
            )
        return self


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
