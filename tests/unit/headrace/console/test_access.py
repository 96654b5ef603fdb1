"""Who gets in, and as what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.console.access.attempts import MOST_CLIENTS, MOST_FAILURES, PER_S, Attempts
from headrace.console.access.deciding import Asked, Rules, host_name
from headrace.console.access.sessions import LASTS_S, MOST_SESSIONS, Sessions
from headrace.console.access.tokens import Grant, Token, TokenError, Tokens, checked_token

READ, ACT = Token.of("a token for reading"), Token.of("a token for acting")
BOTH = Tokens(READ, ACT)
OPEN = Rules(is_loopback=True, public_host=None, highest=Grant.ACT)
OUTSIDE = Rules(is_loopback=False, public_host="headrace.example.com", highest=Grant.ACT)


def status(rules: Rules, granted: Grant, **asked: object) -> int | None:
    values = {"needs": Grant.READ, "host": "127.0.0.1:8270", **asked}
    refusal = rules.decide(Asked(**values), granted)  # type: ignore[arg-type] # fields by name
    return None if refusal is None else refusal.status_code


@pytest.mark.parametrize(
    ("tokens", "open_grant", "highest"),
    [
        (Tokens(), Grant.ACT, Grant.ACT),
        (Tokens(act=ACT), Grant.READ, Grant.ACT),
        (Tokens(read=READ), Grant.NONE, Grant.READ),
        (BOTH, Grant.NONE, Grant.ACT),
    ],
)
def test_what_is_open_follows_from_the_tokens(
    tokens: Tokens, open_grant: Grant, highest: Grant
) -> None:
    assert tokens.open_grant is open_grant
    assert tokens.highest_grant is highest


def test_a_token_grants_its_own() -> None:
    assert BOTH.grant_of(READ) is Grant.READ
    assert BOTH.grant_of(ACT) is Grant.ACT
    assert BOTH.grant_of(Token.of("another")) is Grant.NONE
    # One token for both.
    assert Tokens(READ, READ).grant_of(READ) is Grant.ACT


@pytest.mark.parametrize("text", ["", "short", " " * 40, "é" * 20, "two words, many letters"])
def test_a_weak_or_odd_token_is_none(text: str) -> None:
    with pytest.raises(TokenError, match="where"):
        checked_token(text, "where")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8270", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8270", "::1"),
        ("", ""),
        ("evil.example:8270", "evil.example"),
    ],
)
def test_the_name_of_a_host(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("host", ["127.0.0.1:8270", "localhost:9999", "[::1]:8270", "localhost"])
def test_on_this_machine_its_own_names_are_taken(host: str) -> None:
    assert status(OPEN, Grant.ACT, host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8270", "127.0.0.1.evil.example", "", "localhost.evil"]
)
def test_a_name_that_somebody_points_here_is_refused(host: str) -> None:
    """DNS rebinding: the page's own name is in the header, and the tokens are none."""
    assert status(OPEN, Grant.ACT, host=host) == 421
    assert status(OPEN, Grant.ACT, host=host, changes=True, act_header="1") == 421


def test_a_proxy_before_it_is_named() -> None:
    named = Rules(is_loopback=True, public_host="headrace.example.com", highest=Grant.ACT)
    assert status(named, Grant.ACT, host="headrace.example.com") is None
    assert status(named, Grant.ACT, host="other.example.com") == 421
    # To others no name is refused: a token protects, and a pod has many names.
    assert status(OUTSIDE, Grant.READ, host="10.0.0.7:8270") is None


def test_who_has_no_token_is_asked_for_one_and_who_may_read_does_not_act() -> None:
    assert status(OUTSIDE, Grant.NONE) == 401
    assert status(OUTSIDE, Grant.READ) is None
    acts = {"needs": Grant.ACT, "changes": True, "act_header": "1"}
    assert status(OUTSIDE, Grant.READ, **acts) == 403
    assert status(OUTSIDE, Grant.ACT, **acts) is None
    reading_only = Rules(is_loopback=False, public_host=None, highest=Grant.READ)
    assert status(reading_only, Grant.READ, **acts) == 403


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({"act_header": "1"}, True),
        ({"act_header": "1", "origin": "http://127.0.0.1:8270"}, True),
        ({"act_header": "1", "origin": "http://127.0.0.1:8270", "fetch_site": "same-origin"}, True),
        ({}, False),
        ({"act_header": "1", "origin": "http://evil.example"}, False),
        ({"act_header": "1", "origin": "http://127.0.0.1:80"}, False),
        ({"act_header": "1", "origin": "null"}, False),
        ({"act_header": "1", "origin": "http://[broken"}, False),
        ({"act_header": "1", "fetch_site": "cross-site"}, False),
        ({"act_header": "1", "fetch_site": "same-site"}, False),
        ({"has_bearer": True}, True),
    ],
)
def test_another_sites_page_cannot_act(headers: dict[str, object], is_taken: bool) -> None:
    found = status(OPEN, Grant.ACT, needs=Grant.ACT, changes=True, **headers)
    assert found == (None if is_taken else 403)


@given(st.sampled_from(list(Grant)), st.sampled_from(list(Grant)), st.booleans(), st.text())
def test_nobody_gets_more_than_is_granted(
    needs: Grant, granted: Grant, has_bearer: bool, origin: str
) -> None:
    asked = Asked(
        needs=needs, changes=True, host="a", origin=origin, act_header="1", has_bearer=has_bearer
    )
    if OUTSIDE.decide(asked, granted) is None:
        assert granted >= needs


def new_ids() -> Sessions:
    numbers = iter(range(100_000))
    return Sessions(lambda: f"session-{next(numbers)}")


def test_a_session_ends_in_time_by_hand_and_with_its_token() -> None:
    sessions = new_ids()
    first, second = sessions.open(ACT, 0.0), sessions.open(READ, 0.0)
    assert sessions.grant(first, BOTH, LASTS_S - 1) is Grant.ACT
    assert sessions.grant(second, BOTH, LASTS_S - 1) is Grant.READ
    assert sessions.grant(first, BOTH, LASTS_S) is Grant.NONE
    assert sessions.grant("session-77", BOTH, 0.0) is Grant.NONE
    # The token was changed.
    assert sessions.grant(first, Tokens(READ, Token.of("a newer one")), 1.0) is Grant.NONE
    sessions.close(second)
    assert sessions.grant(second, BOTH, 1.0) is Grant.NONE


def test_sessions_are_few() -> None:
    sessions = new_ids()
    ids = [sessions.open(READ, 0.0) for _ in range(MOST_SESSIONS + 3)]
    granted = [sessions.grant(each, BOTH, 1.0) for each in ids]
    assert granted.count(Grant.READ) == MOST_SESSIONS
    assert granted[:3] == [Grant.NONE] * 3


def test_guessing_is_slow_for_who_guesses() -> None:
    attempts = Attempts()
    for each in range(MOST_FAILURES):
        assert attempts.wait_s("mallory", each) == 0.0
        attempts.fail("mallory", float(each))
    assert attempts.wait_s("mallory", MOST_FAILURES) == PER_S - MOST_FAILURES
    assert attempts.wait_s("ana", MOST_FAILURES) == 0.0
    assert attempts.wait_s("mallory", PER_S + 0.5) == 0.0


def test_what_is_known_of_guesses_is_bounded() -> None:
    attempts = Attempts()
    for each in range(MOST_CLIENTS * 3):
        attempts.fail(f"client-{each}", 0.0)
    assert len(attempts._failures) == MOST_CLIENTS
