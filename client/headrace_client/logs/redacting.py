"""Keeps secrets, control characters and endless text out of log lines; pure."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from urllib.parse import quote, unquote

ASTERISKS = "**********"
LEAST_SECRET_CHARACTERS = 4
"""A shorter one would be found in ordinary words, and the asterisks would tell where."""
MOST_MESSAGE_CHARACTERS = 2000

_SECRET_VARIABLE = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY$", re.IGNORECASE
)
_NO_SECRET_VARIABLE = re.compile(
    r"TOKENIZERS_PARALLELISM|(_FILE|_PATH|_DIR|_URL|_URI|_ENDPOINT|_S|_MS)$", re.IGNORECASE
)

_HEADERS_VARIABLE = re.compile(r"^OTEL_EXPORTER_OTLP_(\w+_)?HEADERS$")

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:password@host
    (re.compile(r"(?<=://)[^/\s'\"]*@"), f"{ASTERISKS}@"),
    # ?X-Amz-Signature=..., &token=... A name holds nothing that begins one, and is looked through
    # once: two stars around the words would take a time that grows with the text's third power.
    (
        re.compile(
            r"([?&](?=[^=&?\s]*?(?:signature|token|secret|password|credential|sig|key))[^=&?\s]*+=)"
            r"[^&\s'\"]+",
            re.IGNORECASE,
        ),
        rf"\1{ASTERISKS}",
    ),
    # Authorization: Bearer ...
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {ASTERISKS}"),
    # password=..., 'sasl.password': '...'
    (
        re.compile(
            r"((?:password|passwd|passphrase|secret|api_key|access_key|access_token|hf_token)"
            r"['\"]?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;'\")}]+)",
            re.IGNORECASE,
        ),
        rf"\1{ASTERISKS}",
    ),
    # Tokens of Hugging Face, keys of OpenAI's form, ids of AWS keys.
    (re.compile(r"\b(?:hf_|sk-)[\w-]{16,}|\bAKIA[0-9A-Z]{16}\b"), ASTERISKS),
)


def secrets_of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables whose names say that they are secret."""
    found = []
    for name, value in environment.items():
        if _HEADERS_VARIABLE.search(name):
            found += secrets_of_headers(value)
        elif _SECRET_VARIABLE.search(name) and not _NO_SECRET_VARIABLE.search(name):
            found.append(value)
    return found


def secrets_of_headers(headers: str) -> list[str]:
    """Return the values of ``NAME=VALUE,...``, as OpenTelemetry's variables have them.

    Values are percent-encoded there. Of ``Bearer TOKEN`` the token is one too.
    """
    found = []
    for each in headers.split(","):
        value = each.partition("=")[2].strip()
        for spelling in dict.fromkeys((value, unquote(value))):
            found += [spelling, *spelling.split()[1:]]
    return [each for each in found if each]


def spellings_of(secret: str) -> set[str]:
    """Return how a secret may stand in a line; none of one that is too short."""
    if len(secret) < LEAST_SECRET_CHARACTERS:
        return set()
    # As it is, in a repr, in JSON and in a URL.
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}


class Learned(Protocol):
    """Secrets that become known later."""

    @property
    def spellings(self) -> Iterable[str]: ...


class Redactor:
    """Replaces known secrets, and what looks like one, by asterisks."""

    def __init__(self, secrets: Iterable[str] = (), learned: Learned | None = None) -> None:
        spellings = {spelling for secret in secrets for spelling in spellings_of(secret)}
        # The longest first: one secret may be the beginning of another.
        alternatives = sorted(spellings, key=lambda each: (-len(each), each))
        self._learned = learned
        self._known = re.compile("|".join(map(re.escape, alternatives))) if alternatives else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(ASTERISKS, text)
        if self._learned is not None:
            # No expression of them: tokens are long and change, and it would be compiled each time.
            for spelling in self._learned.spellings:
                text = text.replace(spelling, ASTERISKS)
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return text


def clean_line(redact: Callable[[str], str], text: str, most_characters: int) -> str:
    """Return text without secrets, on one line, cut; the time it takes is bounded too."""
    # Searching takes time, and no secret that begins later is shown.
    return one_line(redact(text[: 4 * most_characters]), most_characters)


def one_line(text: str, most_characters: int = MOST_MESSAGE_CHARACTERS) -> str:
    """Return text that cannot pass for a line of its own, or move a terminal's cursor."""
    if len(text) > most_characters:
        text = f"{text[: most_characters - 1]}…"
    if text.isprintable():
        return text
    lines = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(each if each.isprintable() else "·" for each in lines)
