"""Decides whether a request is taken, by its headers and by what its sender is granted. Pure.

Without tokens the console trusts whoever reaches this machine's own address. A page of somebody
else's, open in a browser here, reaches it too. Such a page cannot read what comes back, unless the
name of its host is made to point here (DNS rebinding): so ``Host`` must be one of this machine's
own. And it can send forms and simple requests: so what acts needs a header that such a page cannot
set, and an ``Origin``, where there is one, that is the console's.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.console.access.tokens import Grant

ACT_HEADER = "x-headrace-console"
OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is decided by.

    Attributes:
        needs: The least grant.
        changes: It is not only read by.
        host: The header ``Host``; the next three are headers too, ``None`` where there is none.
        has_bearer: It came with a token in ``Authorization``, which a browser never adds itself.
    """

    needs: Grant
    changes: bool = False
    host: str
    origin: str | None = None
    fetch_site: str | None = None
    act_header: str | None = None
    has_bearer: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    status_code: int
    message: str


@dataclass(frozen=True, slots=True)
class Rules:
    """How the console is bound.

    Attributes:
        is_loopback: It listens to this machine only.
        public_host: The host, or HOST:PORT, of ``public_url``.
        highest: The most that anybody can be granted.
    """

    is_loopback: bool
    public_host: str | None
    highest: Grant

    def decide(self, asked: Asked, granted: Grant) -> Refusal | None:
        """Return why a request is refused, or ``None``."""
        if self.is_loopback and not self._is_own(asked.host):
            return Refusal(
                421,
                f"the console is not at {asked.host[:100]!r}: open it as localhost or 127.0.0.1, "
                "or set console.public_url",
            )
        if asked.needs > self.highest:
            return Refusal(
                403,
                "nobody may act here: there is a token for reading only. Set "
                "console.act_token_file or console.act_token_env",
            )
        if granted < asked.needs:
            if granted is Grant.NONE:
                return Refusal(401, "a token is needed")
            return Refusal(403, "this token may read only; acting needs the act token")
        return self._foreign(asked) if asked.changes else None

    def _is_own(self, host: str) -> bool:
        return host == self.public_host or host_name(host) in OWN_HOSTS

    def _foreign(self, asked: Asked) -> Refusal | None:
        """Return a refusal if another site's page may have sent it."""
        if asked.has_bearer:
            return None
        if asked.act_header is None:
            return Refusal(403, f"what acts needs the header {ACT_HEADER}, with any value")
        if asked.fetch_site not in (None, "same-origin", "none"):
            return Refusal(403, "another site's page has sent this")
        if asked.origin is not None and not self._is_same(asked.origin, asked.host):
            return Refusal(403, "another site's page has sent this")
        return None

    def _is_same(self, origin: str, host: str) -> bool:
        try:
            sender = urlsplit(origin).netloc
        except ValueError:
            return False
        return bool(sender) and sender in (host, self.public_host)


def host_name(host: str) -> str:
    """Return the name in ``Host``, without the port and an IPv6 address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
