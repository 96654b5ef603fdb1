"""Tokens: one for all, renewed before it expires, and a failure that costs nobody twice."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from headrace_client.kafka.security.token_endpoint import Token
from headrace_client.kafka.security.tokens import TokenError, TokenSource, tokens_of
from headrace_client.security import OAuth


class Provider:
    """Gives tokens of 100 s, unless it fails; its clock goes on by hand and by pauses."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.fetched = 0
        self.failures: list[Exception] = []
        self.pauses: list[float] = []
        self.tokens = TokenSource(self.fetch, clock=lambda: self.now_s, pause=self.pause)

    def fetch(self) -> Token:
        self.fetched += 1
        if self.failures:
            raise self.failures.pop(0)
        return Token(f"token-{self.fetched}", self.now_s + 100)

    def pause(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.now_s += pause_s


@pytest.fixture
def provider() -> Provider:
    return Provider()


async def test_many_connections_share_one_fetch(provider: Provider) -> None:
    found = await asyncio.gather(*(provider.tokens.token() for _ in range(50)))

    assert set(found) == {"token-1"}
    assert provider.fetched == 1


async def test_a_token_is_renewed_before_it_expires(provider: Provider) -> None:
    assert await provider.tokens.token() == "token-1"
    provider.now_s += 79
    assert await provider.tokens.token() == "token-1"
    provider.now_s += 2
    assert await provider.tokens.token() == "token-2"


async def test_a_connection_is_replaced_before_its_token_expires(provider: Provider) -> None:
    assert provider.tokens.use_for_s() is None
    await provider.tokens.token()
    assert provider.tokens.use_for_s() == pytest.approx(90)
    provider.now_s += 60
    assert provider.tokens.use_for_s() == pytest.approx(36)


async def test_a_failure_that_may_pass_is_tried_again(provider: Provider) -> None:
    provider.failures = [OSError("refused"), OSError("refused")]

    assert await provider.tokens.token() == "token-3"
    assert provider.pauses == [0.2, 0.8]


async def test_a_refusal_is_told_and_not_repeated_at_once(provider: Provider) -> None:
    provider.failures = [ValueError("invalid_client"), ValueError("invalid_client")]

    for _ in range(20):
        with pytest.raises(TokenError, match=r"kafka\.sasl\.oauth: no token: invalid_client"):
            await provider.tokens.token()
    assert provider.fetched == 1
    provider.now_s += 1.1
    with pytest.raises(TokenError):
        await provider.tokens.token()
    assert provider.fetched == 2
    provider.now_s += 1.1
    with pytest.raises(TokenError):
        await provider.tokens.token()
    assert provider.fetched == 2
    provider.now_s += 1
    assert await provider.tokens.token() == "token-3"


async def test_while_the_provider_is_away_the_old_token_is_used_until_it_expires(
    provider: Provider,
) -> None:
    await provider.tokens.token()
    provider.failures = [OSError("away")] * 100
    provider.now_s += 85
    assert await provider.tokens.token() == "token-1"
    provider.now_s += 20
    with pytest.raises(TokenError, match="away"):
        await provider.tokens.token()


async def test_a_token_that_has_expired_on_arrival_is_a_matter_of_clocks(
    provider: Provider,
) -> None:
    tokens = TokenSource(lambda: Token("t", 5.0), clock=lambda: 10.0)

    with pytest.raises(TokenError, match="clocks"):
        await tokens.token()


async def test_threads_and_loops_share_a_token(provider: Provider) -> None:
    found: list[str] = []
    asks: list[Callable[[], object]] = [
        lambda: found.append(asyncio.run(provider.tokens.token())) for _ in range(8)
    ]
    await asyncio.gather(*(asyncio.to_thread(each) for each in asks))

    assert found == ["token-1"] * 8
    assert provider.fetched == 1


class SlowProvider:
    """Gives a token when the test says so; its clock goes on by hand."""

    def __init__(self, **options: float) -> None:
        self.now_s = 1000.0
        self.fetched = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.tokens = TokenSource(self.fetch, clock=lambda: self.now_s, **options)  # type: ignore[arg-type]

    def fetch(self) -> Token:
        self.fetched += 1
        number = self.fetched
        assert self.goes_on.wait(20)
        return Token(f"token-{number}", self.now_s + 100)


async def test_a_slow_provider_keeps_nobody_whose_token_is_good() -> None:
    provider = SlowProvider(patience_s=0.0)
    assert await provider.tokens.token() == "token-1"
    provider.now_s += 81
    provider.goes_on.clear()
    try:
        found = await asyncio.gather(*(provider.tokens.token() for _ in range(50)))
    finally:
        provider.goes_on.set()

    assert set(found) == {"token-1"}
    assert provider.fetched == 2
    async with asyncio.timeout(20):
        while await provider.tokens.token() != "token-2":
            await asyncio.sleep(0)
    assert provider.fetched == 2


async def test_waiting_for_a_slow_provider_takes_no_thread() -> None:
    provider = SlowProvider()
    provider.goes_on.clear()
    # More than asyncio has threads of its own.
    waiting = [asyncio.create_task(provider.tokens.token()) for _ in range(100)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(lambda: "free") == "free"
        waiting.pop().cancel()
    finally:
        provider.goes_on.set()

    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert provider.fetched == 1


async def test_a_provider_that_never_answers_is_named() -> None:
    provider = SlowProvider(most_wait_s=0.0)
    provider.goes_on.clear()
    try:
        for _ in range(3):
            with pytest.raises(TokenError, match=r"oauth: no token: the provider has not answered"):
                await provider.tokens.token()
    finally:
        provider.goes_on.set()
    assert provider.fetched == 1


def test_connections_of_the_same_settings_share_tokens() -> None:
    def oauth(scope: str) -> OAuth:
        return OAuth(
            token_url="https://id.example/token", client_id="c", client_secret="s", scope=scope
        )

    assert tokens_of(oauth("a")) is tokens_of(oauth("a"))
    assert tokens_of(oauth("a")) is not tokens_of(oauth("b"))
