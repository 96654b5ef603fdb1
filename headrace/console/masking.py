"""Takes secrets out of settings that are shown. Pure.

Passwords of the settings are masked by their type. What a user may write freely (arguments of an
engine, options of a model of one's own, URLs) is masked by the name of its key, or by its form.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from schemas.settings.secret_names import arguments_with_names, is_secret_name, names_no_secret

MASK = "••••••"
_SHOWN_NOWHERE = re.compile(
    r"(^|[_-])(credentials?|auth|authorization|cookie|dsn|pass)$|connection[_-]?string$|key_id$",
    re.IGNORECASE,
)
"""Names that may be a secret's. Settings with them are legal, but nobody has to see them."""
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"]*@")
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|ghp_|github_pat_|glpat-|xox[bap]-|AKIA)[A-Za-z0-9_-]{12,}")


def masked(value: Any, key: str = "") -> Any:
    """Return a JSON value with ``MASK`` in place of each secret, and of all below its name."""
    return _masked(value, is_secret=_is_secret(key))


def _masked(value: Any, *, is_secret: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _masked(
                each,
                is_secret=_is_secret(str(name)) or (is_secret and not names_no_secret(str(name))),
            )
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _masked_argument(name, each)
            if _is_secret(name) and not is_secret
            else _masked(each, is_secret=is_secret)
            for name, each in arguments_with_names(value)
        ]
    if value is None or isinstance(value, bool):
        return value
    if is_secret and value != "":
        return MASK
    return _masked_text(value) if isinstance(value, str) else value


def _masked_argument(flag: str, value: Any) -> Any:
    if isinstance(value, str) and value.startswith(f"{flag}="):
        return f"{flag}={MASK}"
    return _masked(value, is_secret=True)


def _is_secret(name: str) -> bool:
    return is_secret_name(name) or _SHOWN_NOWHERE.search(name) is not None


def _masked_text(text: str) -> str:
    if text and not text.strip("*"):
        return MASK
    if _URL.match(text):
        text = _masked_url(text)
    text = _USER_IN_URL.sub(f"{MASK}@", text)
    return _SECRET_VALUE.sub(MASK, text)


def _masked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc
    if "@" in place:
        place = f"{MASK}@{place.rpartition('@')[2]}"
    # Signed URLs carry their signature there.
    query = MASK if parts.query else ""
    return urlunsplit((parts.scheme, place, parts.path, query, ""))
