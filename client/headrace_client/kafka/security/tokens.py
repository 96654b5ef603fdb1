"""OAUTHBEARER tokens: one for all connections of a process, renewed before it expires.

A connection is made with a token that is good for a fifth of its time yet. An older one is replaced
first; if that fails, it is used until it expires.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import errors

from headrace_client.clock import epoch_ms
from headrace_client.kafka.security.providers import provider_of
from headrace_client.kafka.security.token_endpoint import Token, ask_for_token
from headrace_client.security import OAuth

log = logging.getLogger(__name__)

_FRESH_SHARE = 0.8
_USED_SHARE = 0.9
_PAUSES_S = (0.2, 0.8)
"""Between tries of one fetch, where the failure may pass."""
_FIRST_SILENCE_S = 1.0
_MOST_SILENCE_S = 30.0
_MOST_SOURCES = 32


class TokenError(errors.KafkaConnectionError):  # type: ignore[misc]  # aiokafka is untyped
    """There is no token; the message says why, and which setting to check."""


class _Held(NamedTuple):
    token: Token
    fetched_at_s: float

    def is_fresh(self, now_s: float) -> bool:
        lifetime_s = self.token.expires_at_s - self.fetched_at_s
        return now_s < self.fetched_at_s + _FRESH_SHARE * lifetime_s


class _Failure(NamedTuple):
    error: str
    again_at_s: float
    silence_s: float


def _epoch_s() -> float:
    return epoch_ms() / 1000


class TokenSource:
    """The token of one provider; connections of several event loops may ask at the same time.

    Args:
        fetch: Returns a new token; blocks. Any exception is a failure; ``OSError`` is tried again.
        clock: Returns epoch seconds.
        pause: Waits for some seconds, in a thread.
    """

    def __init__(
        self,
        fetch: Callable[[], Token],
        *,
        clock: Callable[[], float] = _epoch_s,
        pause: Callable[[float], object] = lambda pause_s: threading.Event().wait(pause_s),
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self.fetched = 0
        """Tokens that came so far."""
        self._failure: _Failure | None = None

    async def token(self) -> str:
        """Return a token; ``TokenError`` if there is none."""
        held = self._held
        if held is not None and held.is_fresh(self._clock()):
            return held.token.value
        return await asyncio.to_thread(self.token_now)

    def use_for_s(self) -> float | None:
        """Return how long a connection of the present token should be used."""
        if self._held is None:
            return None
        return _USED_SHARE * max(0.0, self._held.token.expires_at_s - self._clock())

    def expires_in_s(self) -> float | None:
        return None if self._held is None else self._held.token.expires_at_s - self._clock()

    def token_now(self) -> str:
        """As ``token``; blocks. Whoever comes during a fetch waits for it."""
        with self._lock:
            now_s = self._clock()
            held, failure = self._held, self._failure
            if held is not None and held.is_fresh(now_s):
                return held.token.value
            if failure is None or now_s >= failure.again_at_s:
                try:
                    token = self._fetch_patiently()
                except Exception as error:  # noqa: BLE001 - a provider of the user's may raise any
                    failure = self._note(error, failure)
                else:
                    self._held, self._failure = _Held(token, self._clock()), None
                    self.fetched += 1
                    return token.value
            if held is not None and self._clock() < held.token.expires_at_s:
                return held.token.value
            raise TokenError(failure.error)

    def _fetch_patiently(self) -> Token:
        for pause_s in _PAUSES_S:
            try:
                return self._checked()
            except OSError as error:
                log.info(
                    "no token yet (%s); trying again in %.1f s",
                    error,
                    pause_s,
                    extra={
                        "event": "no_token",
                        "backoff_s": pause_s,
                        "error_class": type(error).__name__,
                    },
                )
                self._pause(pause_s)
        return self._checked()

    def _checked(self) -> Token:
        token = self._fetch()
        if token.expires_at_s <= self._clock():
            raise ValueError(
                "the token that came has expired already: see that the clocks of this machine and "
                "of the provider agree"
            )
        return token

    def _note(self, error: Exception, last: _Failure | None) -> _Failure:
        silence_s = min(2 * last.silence_s, _MOST_SILENCE_S) if last else _FIRST_SILENCE_S
        told = f"kafka.sasl.oauth: no token: {error}"
        log.warning(
            "%s; asking again in %.0f s at the earliest",
            told,
            silence_s,
            extra={
                "event": "no_token",
                "backoff_s": silence_s,
                "error_class": type(error).__name__,
            },
        )
        self._failure = _Failure(told, self._clock() + silence_s, silence_s)
        return self._failure


@dataclass(slots=True)
class _Shared:
    oauth: OAuth
    tokens: TokenSource


_lock = threading.Lock()
_shared: list[_Shared] = []


def tokens_of(oauth: OAuth) -> TokenSource:
    """Return this process's tokens of these settings; ``SettingsError`` names what is wrong."""
    with _lock:
        for each in _shared:
            if each.oauth == oauth:
                return each.tokens
        tokens = TokenSource(_fetch_of(oauth))
        _shared.append(_Shared(oauth, tokens))
        del _shared[:-_MOST_SOURCES]
        return tokens


def _fetch_of(oauth: OAuth) -> Callable[[], Token]:
    if oauth.token_provider is not None:
        return provider_of(oauth.token_provider, oauth.options)
    # What is missing from a file or the environment is told at the start.
    oauth.read_client_secret()
    return lambda: ask_for_token(oauth)
