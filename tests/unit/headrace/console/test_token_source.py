"""Tokens are read where the console runs, and again when they change."""

from pathlib import Path

from headrace.console.access.token_source import TokenSource
from headrace.console.access.tokens import Grant, Token
from schemas.settings.console import ConsoleSettings

FIRST, SECOND = "first-0123456789abcdef", "second-0123456789abcde"


def grant(source: TokenSource, token: str) -> Grant:
    return source.read().grant_of(Token.of(token))


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{FIRST}\n")
    source = TokenSource(ConsoleSettings(read_token_file=path))
    assert grant(source, FIRST) is Grant.READ
    new = tmp_path / "new"
    new.write_text(SECOND)
    new.replace(path)
    assert grant(source, FIRST) is Grant.NONE
    assert grant(source, SECOND) is Grant.READ
    assert source.problems == ()


def test_a_token_that_is_gone_or_none_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "token"
    settings = ConsoleSettings(read_token_file=path, act_token_env="ACT")
    source = TokenSource(settings, {"ACT": ""})
    tokens = source.read()
    assert tokens.open_grant is Grant.NONE
    assert tokens.grant_of(Token.of("")) is Grant.NONE
    said = "\n".join(source.problems)
    assert f"console.read_token_file: {path} cannot be read" in said
    assert "console.act_token_env: ACT" in said
    path.write_bytes(b"\xff\xfe" * 20)
    source.read()
    assert "no text" in source.problems[0]
    path.write_text(FIRST)
    assert grant(source, FIRST) is Grant.READ


def test_a_variable_has_a_token_too() -> None:
    source = TokenSource(ConsoleSettings(act_token_env="ACT"), {"ACT": FIRST})
    assert grant(source, FIRST) is Grant.ACT
    assert source.read().open_grant is Grant.READ
