"""Stands before the application: limits, tokens, sessions, and headers of every answer."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handoff.clock import Clock
from headrace.console.access.attempts import Attempts
from headrace.console.access.deciding import ACT_HEADER, Asked, Refusal, Rules
from headrace.console.access.sessions import Sessions
from headrace.console.access.token_source import TokenSource
from headrace.console.access.tokens import MOST_TOKEN_CHARACTERS, Grant, Token, Tokens
from headrace.console.web.bodies import Json
from headrace.console.web.headers import NO_STORE, SECURITY_HEADERS

log = logging.getLogger(__name__)

COOKIE = "headrace-console"
MOST_QUERY_BYTES = 2_048
MOST_PATH_BYTES = 1_024
MOST_HEADERS_BYTES = 16 * 1024
MOST_BODY_BYTES = 64 * 1024
PROBES = frozenset({"/healthz", "/readyz"})
"""Whoever asks for them, a kubelet by the pod's address, hears no more than yes or no."""


@dataclass(slots=True)
class Door:
    """Who gets in, and as what."""

    tokens: TokenSource
    sessions: Sessions
    attempts: Attempts
    clock: Clock
    is_loopback: bool
    public_host: str | None
    is_secure: bool

    def now_s(self) -> float:
        return self.clock.monotonic()

    def open_session(self, token: str) -> str:
        """Return the id of a new session of somebody with this token."""
        return self.sessions.open(Token.of(token), self.now_s())

    def grant(self, token: Token | None, session_id: str) -> Grant:
        """Return what is granted now to who came with a token, or else with a session."""
        tokens = self.tokens.read()
        if token is not None:
            return max(tokens.open_grant, tokens.grant_of(token))
        return max(tokens.open_grant, self.sessions.grant(session_id, tokens, self.now_s()))

    def rules(self, tokens: Tokens) -> Rules:
        return Rules(self.is_loopback, self.public_host, tokens.highest_grant)

    def try_token(self, text: str, client: str) -> tuple[Grant, float]:
        """Return what a token grants, and how long its sender waits after too many wrong ones.

        A right one grants at once: behind a proxy everybody has one address, and somebody's wrong
        tokens must not keep the others out. The length of a token is what keeps it from
        being guessed; the count is for who asks, and for the log.
        """
        now_s = self.now_s()
        is_short = len(text) <= MOST_TOKEN_CHARACTERS
        granted = self.tokens.read().grant_of(Token.of(text)) if is_short else Grant.NONE
        if granted is not Grant.NONE:
            return granted, 0.0
        if wait_s := self.attempts.wait_s(client, now_s):
            return Grant.NONE, wait_s
        self.attempts.fail(client, now_s)
        log.warning(
            "a wrong token came from %s",
            client,
            extra={"event": "console_token_wrong", "client": client},
        )
        return Grant.NONE, 0.0


class Guard:
    """An ASGI application before another one.

    It puts ``grant`` (a ``Grant``), ``client`` and ``session_id`` into the scope's state, and
    ``grant_now``, which returns what the sender is granted at the moment of the call: an answer may
    last longer than a session or token. ``needs`` says what a method and path need.
    """

    def __init__(self, app: ASGIApp, door: Door, needs: Callable[[str, str], Grant]) -> None:
        self._app = app
        self._door = door
        self._needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal, extra = self._enter(scope)
        if refusal is not None:
            answer = Json({"error": refusal.message}, refusal.status_code, headers=extra or None)
            await answer(scope, receive, send)
            return
        await self._app(scope, _limited(receive), send)

    def _enter(self, scope: Scope) -> tuple[Refusal | None, dict[str, str]]:
        headers = Headers(scope=scope)
        if (too_large := _too_large(scope, headers)) is not None:
            return too_large, {}
        door, method, path = self._door, scope["method"], scope["path"]
        client = scope["client"][0] if scope["client"] else "unknown"
        tokens = door.tokens.read()
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        has_bearer = kind.lower() == "bearer"
        session_id = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if has_bearer:
            of_token, wait_s = door.try_token(bearer.strip(), client)
            if of_token is Grant.NONE:
                return _wrong_token(wait_s)
        token = Token.of(bearer.strip()) if has_bearer else None

        def grant_now() -> Grant:
            return door.grant(token, session_id)

        granted = grant_now()
        scope.setdefault("state", {}).update(
            grant=granted,
            grant_now=grant_now,
            client=client,
            session_id=session_id,
            tokens=tokens,
        )
        if path in PROBES:
            return None, {}
        asked = Asked(
            needs=self._needs(method, path),
            changes=method not in ("GET", "HEAD"),
            host=headers.get("host", ""),
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            act_header=headers.get(ACT_HEADER),
            has_bearer=has_bearer,
        )
        refusal = door.rules(tokens).decide(asked, granted)
        is_unknown = refusal is not None and refusal.status_code == 401
        return refusal, {"www-authenticate": "Bearer"} if is_unknown else {}


def _wrong_token(wait_s: float) -> tuple[Refusal, dict[str, str]]:
    if wait_s:
        after_s = math.ceil(wait_s)
        return too_many(wait_s), {"retry-after": str(after_s)}
    return Refusal(401, "this token is none of the console's"), {"www-authenticate": "Bearer"}


def too_many(wait_s: float) -> Refusal:
    return Refusal(429, f"too many wrong tokens from here: try again in {math.ceil(wait_s)} s")


def _too_large(scope: Scope, headers: Headers) -> Refusal | None:
    if len(scope["query_string"]) > MOST_QUERY_BYTES:
        return Refusal(414, f"a query has at most {MOST_QUERY_BYTES} bytes")
    if len(scope["raw_path"] or b"") > MOST_PATH_BYTES:
        return Refusal(414, f"a path has at most {MOST_PATH_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS_BYTES:
        return Refusal(431, f"headers have at most {MOST_HEADERS_BYTES} bytes")
    if _length(headers) > MOST_BODY_BYTES:
        return Refusal(413, f"a body has at most {MOST_BODY_BYTES} bytes")
    return None


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number else MOST_BODY_BYTES + 1


def _limited(receive: Receive) -> Receive:
    """Count the bytes of a body that did not say how long it is."""
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BODY_BYTES:
            raise HTTPException(413, f"a body has at most {MOST_BODY_BYTES} bytes")
        return message

    return counting


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS:
                headers[name.decode()] = value.decode()
            if "cache-control" not in headers:
                headers[NO_STORE[0].decode()] = NO_STORE[1].decode()
        await send(message)

    return sending
