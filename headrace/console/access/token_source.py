"""Reads the tokens where the console runs: no part of Ray's state has them."""

import os
from collections.abc import Mapping
from pathlib import Path

from headrace.console.access.tokens import (
    MOST_TOKEN_CHARACTERS,
    Token,
    TokenError,
    Tokens,
    checked_token,
)
from headrace_client.logs.learned import learn_secrets
from schemas.settings.console import ConsoleSettings

_Stamp = tuple[int, int, int]


class TokenSource:
    """The tokens of the settings; a file is read again when it has changed.

    A token that cannot be read any more, or is none, grants nothing: nobody gets in by it, and
    nothing is open that was not.
    """

    def __init__(
        self, settings: ConsoleSettings, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._files: dict[Path, tuple[_Stamp, Token]] = {}
        self.problems: tuple[str, ...] = ()

    def read(self) -> Tokens:
        """Return the tokens that count now; ``problems`` says which of them do not."""
        settings = self._settings
        problems: list[str] = []
        tokens = Tokens(
            self._one("read_token", settings.read_token_file, settings.read_token_env, problems),
            self._one("act_token", settings.act_token_file, settings.act_token_env, problems),
        )
        self.problems = tuple(problems)
        return tokens

    def _one(
        self, name: str, path: Path | None, variable: str | None, problems: list[str]
    ) -> Token | None:
        try:
            if path is not None:
                return self._of_file(path, f"console.{name}_file")
            if variable is not None:
                where = f"console.{name}_env: {variable}"
                text = self._environment.get(variable, "")
                learn_secrets(text.strip())
                return checked_token(text, where)
        except TokenError as error:
            problems.append(str(error))
            return _NOBODYS
        return None

    def _of_file(self, path: Path, key: str) -> Token:
        try:
            status = path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            known = self._files.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with path.open("rb") as file:
                content = file.read(MOST_TOKEN_CHARACTERS + 64)
            text = content.decode()
            learn_secrets(text.strip())
            token = checked_token(text, f"{key}: {path}")
        except OSError as error:
            raise TokenError(f"{key}: {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TokenError(f"{key}: {path} is no text") from None
        self._files[path] = stamp, token
        return token


_NOBODYS = Token(bytes(32))
"""No text has this digest."""
