"""Takes secrets out of settings that are shown. Pure.

Passwords of the settings are masked by their type. What a user may write freely (arguments of an
engine, options of a model of one's own, URLs) is masked by the name of its key, or by its form.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

MASK = "••••••"
_SECRET_KEY = re.compile(
    r"(^|[_-])(password|passwd|passphrase|secret|token|credentials?|auth|authorization|cookie|dsn)$"
    r"|(api|access|account|private|secret|signing|sas)[_-]?(key|token)(_id)?$"
    r"|connection[_-]?string$",
    re.IGNORECASE,
)
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|ghp_|github_pat_|glpat-|xox[bap]-|AKIA)[A-Za-z0-9_-]{12,}")


def masked(value: Any, key: str = "") -> Any:
    """Return a JSON value with ``MASK`` in place of each secret."""
    if isinstance(value, Mapping):
        return {name: masked(each, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each, key) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(key) and value != "":
        return MASK
    return _masked_text(value) if isinstance(value, str) else value


def _masked_text(text: str) -> str:
    if text and not text.strip("*"):
        return MASK
    if _URL.match(text):
        text = _masked_url(text)
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
