"""Sessions of browsers that logged in, in memory. Pure: time and randomness are arguments."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.console.access.tokens import Grant, Token, Tokens

LASTS_S = 12 * 3_600.0
MOST_SESSIONS = 256


@dataclass(frozen=True, slots=True)
class _Session:
    token: Token
    ends_at_s: float


class Sessions:
    """Who has logged in; ``new_id`` returns a text that nobody can guess.

    A session ends after ``LASTS_S``, when its token is no longer one, or when there are too many:
    the oldest first.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        # By digest: the time of a look-up tells nothing of the ids.
        self._sessions: dict[bytes, _Session] = {}

    def open(self, token: Token, now_s: float) -> str:
        """Open a session of somebody who has this token; return its id."""
        self._forget(now_s)
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session_id = self._new_id()
        self._sessions[Token.of(session_id).digest] = _Session(token, now_s + LASTS_S)
        return session_id

    def grant(self, session_id: str, tokens: Tokens, now_s: float) -> Grant:
        """Return what a session's token grants now; ``NONE`` if there is no such session."""
        session = self._sessions.get(Token.of(session_id).digest)
        if session is None or now_s >= session.ends_at_s:
            return Grant.NONE
        return tokens.grant_of(session.token)

    def close(self, session_id: str) -> None:
        self._sessions.pop(Token.of(session_id).digest, None)

    def _forget(self, now_s: float) -> None:
        ended = [key for key, each in self._sessions.items() if now_s >= each.ends_at_s]
        for key in ended:
            del self._sessions[key]
