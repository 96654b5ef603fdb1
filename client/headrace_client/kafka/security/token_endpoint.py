"""Asks an OpenID provider's token endpoint by client credentials (RFC 6749, section 4.4)."""

import base64
import binascii
import re
import ssl
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

import orjson

from headrace_client.clock import epoch_ms
from headrace_client.errors import SettingsError
from headrace_client.kafka.security.answering_time import (
    AnsweringTime,
    WatchedHttp,
    WatchedHttps,
)
from headrace_client.logs.learned import learn_secrets
from headrace_client.security import OAuth

TIMEOUT_S = 10.0
"""Of one request in all."""
MAX_ANSWER_BYTES = 256 * 1024
UNSAID_LIFETIME_S = 300.0
"""Of a token whose lifetime neither the answer nor the token says."""
_MOST_LIFETIME_S = 30 * 24 * 3600.0
_TOO_MANY_REQUESTS = 429
_SHOWN_CHARACTERS = 200
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750; anything else could end the field of SASL's message that the token stands in."""


class Token(NamedTuple):
    value: str
    expires_at_s: float


def check_token(value: object, expires_at_s: float) -> Token:
    """Return a token that may be sent; ``ValueError`` says what is wrong, without the token."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("what came as a token is none: it has other characters than RFC 6750's")
    learn_secrets(value)
    return Token(value, expires_at_s)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        # The secret would go where nobody said it may. So it is an error with the answer's code.
        return None


def ask_for_token(oauth: OAuth) -> Token:
    """Return a new token; blocks.

    Raises ``OSError`` where another try may do better, and else ``ValueError`` or
    ``SettingsError``, which say why; none of them repeats the secret or the answer's token.
    """
    url = oauth.token_url or ""
    with AnsweringTime(TIMEOUT_S) as time:
        https = WatchedHttps(time, _context(oauth))
        opener = build_opener(WatchedHttp(time), https, _NoRedirects)
        try:
            with opener.open(_request(oauth), timeout=TIMEOUT_S) as answer:
                content = answer.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            explained = _explain(url, error)
            _check_time(url, time)
            raise explained from None
        except (OSError, HTTPException) as error:
            _check_time(url, time)
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise SettingsError(f"{url}: {reason.verify_message}; check ca_file") from None
            raise OSError(f"{url}: {reason}") from None
        _check_time(url, time)
    return read_answer(url, content)


def _check_time(url: str, time: AnsweringTime) -> None:
    if time.is_over:
        raise OSError(f"{url}: no whole answer within {time.within_s:g} s") from None


def read_answer(url: str, content: bytes) -> Token:
    """Read an endpoint's answer; ``ValueError`` says what is wrong with it, and not what it is."""
    if len(content) > MAX_ANSWER_BYTES:
        raise ValueError(f"{url}: the answer is over {MAX_ANSWER_BYTES:,} bytes")
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or "access_token" not in answer:
        raise ValueError(f"{url}: the answer is no JSON object with an access_token")
    value = answer["access_token"]
    return check_token(value, _expiry_s(value, answer.get("expires_in")))


def _expiry_s(token: object, expires_in: object) -> float:
    now_s = epoch_ms() / 1000
    if isinstance(expires_in, str) and expires_in.isdigit():
        expires_in = float(expires_in)
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool):
        return now_s + min(max(float(expires_in), 0.0), _MOST_LIFETIME_S)
    claimed = jwt_expiry_s(token) if isinstance(token, str) else None
    return now_s + UNSAID_LIFETIME_S if claimed is None else claimed


def jwt_expiry_s(token: str) -> float | None:
    """Return a JSON Web Token's ``exp``; ``None`` if it has none. Nothing is verified."""
    parts = token.split(".")
    if len(parts) < 2:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) else None


def _context(oauth: OAuth) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=oauth.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"ca_file: cannot read CA certificates from {oauth.ca_file}: {error}"
        ) from None


def _request(oauth: OAuth) -> Request:
    form = {"grant_type": "client_credentials"}
    if oauth.scope is not None:
        form["scope"] = oauth.scope
    if oauth.audience is not None:
        form["audience"] = oauth.audience
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    client_id, secret = oauth.read_client_id(), oauth.read_client_secret()
    if oauth.client_auth == "post":
        form |= {"client_id": client_id, "client_secret": secret}
    else:
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Request(  # noqa: S310 - the settings allow https, and http on this machine, only
        oauth.token_url or "", data=urlencode(form).encode(), headers=headers, method="POST"
    )


def _explain(url: str, error: HTTPError) -> Exception:
    try:
        answer = orjson.loads(error.read(MAX_ANSWER_BYTES))
    except (OSError, HTTPException, orjson.JSONDecodeError):
        answer = None
    told = ""
    if isinstance(answer, dict):
        named = (answer.get("error"), answer.get("error_description"))
        told = ": ".join(each for each in named if isinstance(each, str))[:_SHOWN_CHARACTERS]
    line = f"{url} answers {error.code}" + (f", {told}" if told else "")
    if error.code >= 500 or error.code == _TOO_MANY_REQUESTS:
        return OSError(line)
    if error.code < 400:
        return ValueError(f"{line}: it redirects; set token_url to where it leads")
    return ValueError(f"{line}; check client_id, client_secret, client_auth and scope")
