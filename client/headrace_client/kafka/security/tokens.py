"""OAUTHBEARER tokens: one for all connections of a process, renewed before it expires.

A connection is made with a token that is good for a fifth of its time yet. An older one is replaced
first; if that fails or takes long, it is used until it expires.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
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
_PATIENCE_S = 1.0
_MOST_WAIT_S = 60.0
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


@dataclass(frozen=True, slots=True)
class _Fetch:
    """A fetch under way; ``done`` has no result, but tells when there is a token or a failure."""

    began_at_s: float
    done: Future[None]


class TokenSource:
    """The token of one provider; connections of several event loops may ask at the same time.

    A fetch has a thread of its own, and nobody waits for it in a thread. Who has a token that has
    not expired waits ``patience_s`` for a newer one at most.

    Args:
        fetch: Returns a new token; blocks. Any exception is a failure; ``OSError`` is tried again.
        clock: Returns epoch seconds.
        pause: Waits for some seconds, in a thread.
        patience_s: How long a fetch may take before the token that it replaces is used after all.
        most_wait_s: How long a fetch may take before those who have no token are told so.
    """

    def __init__(
        self,
        fetch: Callable[[], Token],
        *,
        clock: Callable[[], float] = _epoch_s,
        pause: Callable[[float], object] = lambda pause_s: threading.Event().wait(pause_s),
        patience_s: float = _PATIENCE_S,
        most_wait_s: float = _MOST_WAIT_S,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._pause = pause
        self._patience_s = patience_s
        self._most_wait_s = most_wait_s
        self._lock = threading.Lock()
        """Guards what follows, and is held for moments only."""
        self._held: _Held | None = None
        self.fetched = 0
        """Tokens that came so far."""
        self._failure: _Failure | None = None
        self._fetching: _Fetch | None = None

    async def token(self) -> str:
        """Return a token; ``TokenError`` if there is none."""
        with self._lock:
            now_s = self._clock()
            held = self._held
            if held is not None and held.is_fresh(now_s):
                return held.token.value
            fetching = self._fetching or self._begin(now_s)
        if fetching is not None:
            most_s = self._patience_s if _is_good(held, now_s) else self._most_wait_s
            # The clock may be set back meanwhile.
            left_s = min(max(fetching.began_at_s + most_s - now_s, 0.0), most_s)
            await _wait(fetching.done, left_s)
        with self._lock:
            held, failure = self._held, self._failure
            if held is not None and _is_good(held, self._clock()):
                return held.token.value
            if failure is None or not (fetching is None or fetching.done.done()):
                raise TokenError(
                    "kafka.sasl.oauth: no token: the provider has not answered for "
                    f"{self._most_wait_s:.0f} s"
                )
            raise TokenError(failure.error)

    def use_for_s(self) -> float | None:
        """Return how long a connection of the present token should be used."""
        held = self._held
        if held is None:
            return None
        return _USED_SHARE * max(0.0, held.token.expires_at_s - self._clock())

    def expires_in_s(self) -> float | None:
        held = self._held
        return None if held is None else held.token.expires_at_s - self._clock()

    def _begin(self, now_s: float) -> _Fetch | None:
        """Begin a fetch, unless the last one has failed a moment ago."""
        if self._failure is not None and now_s < self._failure.again_at_s:
            return None
        done: Future[None] = Future()
        # Who waits no longer cannot cancel it.
        done.set_running_or_notify_cancel()
        self._fetching = fetching = _Fetch(now_s, done)
        # asyncio's own threads are for all; and a daemon keeps no program from ending.
        threading.Thread(target=self._run, args=(fetching,), name="tokens", daemon=True).start()
        return fetching

    def _run(self, fetching: _Fetch) -> None:
        held, failure = self._held, self._failure
        try:
            token = self._fetch_patiently()
        except BaseException as error:  # noqa: BLE001 - a provider of the user's may raise any
            failure = self._failure_of(error, failure)
        else:
            held, failure = _Held(token, self._clock()), None
        with self._lock:
            self.fetched += failure is None
            self._held, self._failure, self._fetching = held, failure, None
        fetching.done.set_result(None)

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

    def _failure_of(self, error: BaseException, last: _Failure | None) -> _Failure:
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
        return _Failure(told, self._clock() + silence_s, silence_s)


def _is_good(held: _Held | None, now_s: float) -> bool:
    return held is not None and now_s < held.token.expires_at_s


async def _wait(done: Future[None], timeout_s: float) -> None:
    waiting = asyncio.wrap_future(done)
    try:
        await asyncio.wait({waiting}, timeout=timeout_s)
    finally:
        # This event loop may be closed before the fetch ends.
        waiting.cancel()


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
