"""Tokens, and what they grant. Pure."""

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum

LEAST_TOKEN_CHARACTERS = 16
MOST_TOKEN_CHARACTERS = 1_024


class Grant(IntEnum):
    """What somebody may do; each includes those before it."""

    NONE = 0
    READ = 1
    ACT = 2


class TokenError(ValueError):
    """A token cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, as its digest: what is compared has the same length for each."""

    digest: bytes

    @classmethod
    def of(cls, text: str) -> "Token":
        return cls(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())

    def matches(self, other: "Token") -> bool:
        """Compare in a time that does not depend on what the two have in common."""
        return hmac.compare_digest(self.digest, other.digest)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that count now; ``None`` where the settings name none.

    Without a token for reading, everybody who reaches the console reads, and without any token
    everybody acts. With a token for reading alone, nobody acts.
    """

    read: Token | None = None
    act: Token | None = None

    @property
    def open_grant(self) -> Grant:
        """What is granted to somebody without a token."""
        if self.read is not None:
            return Grant.NONE
        return Grant.READ if self.act is not None else Grant.ACT

    @property
    def highest_grant(self) -> Grant:
        return Grant.ACT if self.act is not None else max(self.open_grant, Grant.READ)

    def grant_of(self, token: Token) -> Grant:
        """Return what a token grants; ``NONE`` if it is none of these."""
        # Both are compared in any case, so that the time does not tell them apart.
        reads = self.read is not None and self.read.matches(token)
        acts = self.act is not None and self.act.matches(token)
        return Grant.ACT if acts else Grant.READ if reads else Grant.NONE


def checked_token(text: str, where: str) -> Token:
    """Return the token that ``where`` (a file or variable) has; raises ``TokenError``."""
    stripped = text.strip()
    if not LEAST_TOKEN_CHARACTERS <= len(stripped) <= MOST_TOKEN_CHARACTERS:
        raise TokenError(
            f"{where}: a token has {LEAST_TOKEN_CHARACTERS} to {MOST_TOKEN_CHARACTERS} characters, "
            f"this one has {len(stripped)}; `openssl rand -hex 24` makes one"
        )
    if not (stripped.isascii() and stripped.isprintable()) or " " in stripped:
        raise TokenError(f"{where}: a token has only visible ASCII characters")
    return Token.of(stripped)
