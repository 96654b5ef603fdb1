"""What all connections of one client authenticate with, renewed without a restart.

Kafka authenticates connections, not requests. So a new password, certificate or token counts from
the next connection on; and a connection of an older one is replaced as soon as it has no request
under way. The new one is made first: brokers may learn of a new password later than we do, and a
token's provider may be away.
"""
# ruff: noqa: SLF001 - aiokafka has no public way to change what a client connects with

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason

from headrace_client.errors import SettingsError
from headrace_client.kafka.security.tokens import TokenSource, tokens_of
from headrace_client.security import Tls
from headrace_client.settings import Connection

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How soon a file that changes is noticed, where requests are sent."""

RECONNECT_AFTER_S = 5.0
"""How soon a connection of new credentials is tried again that could not be made."""

_Seen = tuple[tuple[int, int, int] | None, ...]


class Credentials(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """The credentials of one connection's settings; a client's token provider is one.

    ``SettingsError`` names what is missing or illegal at the start. Later such a failure is logged,
    and what was read before stays: files are replaced one after the other.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        sasl, tls = connection.sasl, connection.tls
        self._files = (*(tls.files if tls else ()), *(sasl.files if sasl else ()))
        self._tokens: TokenSource | None = None
        if sasl is not None and sasl.oauth is not None:
            self._tokens = tokens_of(sasl.oauth)
        self.edition = 0
        """Grows whenever what was read from files has changed."""
        self._fetching: asyncio.Future[str] | None = None
        self._look_at_s = 0.0
        self._seen = self._look()
        self._values = self._read()

    def options(self) -> dict[str, Any]:
        """Return the arguments of an aiokafka client; they hold the password: never log them."""
        sasl = self._connection.sasl
        options = dict(self._values)
        if sasl is not None:
            options["sasl_mechanism"] = sasl.mechanism
        if options:
            options["sasl_oauth_token_provider"] = self
        return options

    async def token(self) -> str:
        """Return a token that is good for a while yet; ``TokenError`` says why there is none."""
        if self._tokens is None:
            raise SettingsError("kafka.sasl.oauth: is missing")
        return await self._tokens.token()

    def extensions(self) -> dict[str, str]:
        sasl = self._connection.sasl
        return {} if sasl is None or sasl.oauth is None else dict(sasl.oauth.extensions)

    def made_now(self, edition: int, now_s: float) -> "Made":
        """Return what a connection was made with: files of this edition, and the present token."""
        tokens = self._tokens
        if tokens is None:
            return Made(edition)
        use_for_s, expires_in_s = tokens.use_for_s(), tokens.expires_in_s()
        return Made(
            edition,
            tokens.fetched,
            renew_at_s=math.inf if use_for_s is None else now_s + use_for_s,
            ends_at_s=math.inf if expires_in_s is None else now_s + expires_in_s,
        )

    def has_newer_than(self, made: "Made", now_s: float) -> bool:
        """Return whether what ``made`` has is to be replaced, and there is something newer.

        An old token has a newer one fetched: meanwhile the connection goes on.
        """
        if made.edition != self.edition:
            return True
        if self._tokens is None or now_s < made.renew_at_s:
            return False
        if self._tokens.fetched > made.token:
            return True
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.ensure_future(self._tokens.token())
            # The source has logged what it raises.
            self._fetching.add_done_callback(lambda it: it.cancelled() or it.exception())
        return False

    def refresh(self, client: AIOKafkaClient, now_s: float) -> None:
        """Have ``client`` connect with what the files hold now."""
        if self._files and now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_EVERY_S
            self._read_again()
        for name, value in self._values.items():
            setattr(client, f"_{name}", value)

    def _read_again(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        try:
            values = self._read()
        except SettingsError as error:
            # A key and its certificate are two files: for a moment they do not belong together.
            log.warning(
                "credentials that have changed cannot be used yet: %s",
                error,
                extra={"event": "credentials_not_usable", "error_class": type(error).__name__},
            )
            return
        self._seen, self._values = seen, values
        self.edition += 1
        log.info(
            "credentials have changed: connections are replaced as they become free",
            extra={"event": "credentials_changed"},
        )

    def _look(self) -> _Seen:
        return tuple(_identity_of(each) for each in self._files)

    def _read(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        sasl, tls = self._connection.sasl, self._connection.tls
        if tls is not None:
            values["ssl_context"] = make_ssl_context(tls)
        if sasl is not None and sasl.oauth is None:
            values["sasl_plain_username"] = sasl.read_username()
            values["sasl_plain_password"] = sasl.read_password()
        return values


@dataclass(slots=True)
class Made:
    """What a connection was made with; times are of the event loop.

    Attributes:
        token: How many tokens had come by then.
        ends_at_s: The broker ends it then.
        again_at_s: When its replacement may be tried.
    """

    edition: int
    token: int = 0
    renew_at_s: float = math.inf
    ends_at_s: float = math.inf
    again_at_s: float = 0.0


class _Spare(NamedTuple):
    """The group of a connection that is to replace one of ``group``."""

    group: Any


class Renewal:
    """Replaces a client's connections whose credentials have changed, or are about to expire."""

    def __init__(self, client: AIOKafkaClient, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._made: WeakKeyDictionary[Any, Made] = WeakKeyDictionary()

    async def prepare(
        self, node_id: Any, group: ConnectionGroup, connect: Callable[..., Awaitable[Any]]
    ) -> None:
        """Call it before a connection is looked up, with the client's own names of it.

        ``connect`` is how the client gets a connection; ``None`` if it cannot be made.
        """
        now_s = asyncio.get_running_loop().time()
        credentials, connections = self._credentials, self._client._conns
        credentials.refresh(self._client, now_s)
        held = connections.get((node_id, group))
        made = None if held is None else self._made.get(held)
        if made is None or not held.connected():
            return
        is_due = credentials.has_newer_than(made, now_s)
        if held._requests:
            return
        if now_s >= made.ends_at_s:
            held.close(reason=CloseReason.IDLE_DROP)
        elif is_due and now_s >= made.again_at_s:
            made.again_at_s = now_s + RECONNECT_AFTER_S
            spare = _Spare(group)
            new = await self._connect_spare(node_id, spare, connect)
            if new is None:
                return
            made.again_at_s = 0.0
            # Others went on with the old one meanwhile; it is replaced once it is free.
            if not held._requests and connections.get((node_id, group)) is held:
                connections[node_id, group] = connections.pop((node_id, spare))
                held.close(reason=CloseReason.IDLE_DROP)

    async def _connect_spare(
        self, node_id: Any, spare: _Spare, connect: Callable[..., Awaitable[Any]]
    ) -> Any:
        now_s = asyncio.get_running_loop().time()
        earlier = self._client._conns.get((node_id, spare))
        made = None if earlier is None else self._made.get(earlier)
        if made is not None and self._credentials.has_newer_than(made, now_s):
            earlier.close(reason=CloseReason.IDLE_DROP)
        edition = self.edition
        new = await connect(node_id, group=spare)
        if new is not None:
            self.note(new, edition)
        return new

    def note(self, connection: Any, edition: int) -> None:
        """Call it with each connection that was returned, and the edition before it was made."""
        if connection not in self._made:
            now_s = asyncio.get_running_loop().time()
            self._made[connection] = self._credentials.made_now(edition, now_s)

    @property
    def edition(self) -> int:
        return self._credentials.edition

    def refresh(self) -> None:
        self._credentials.refresh(self._client, asyncio.get_running_loop().time())


def make_ssl_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that verifies the broker; ``SettingsError`` names a bad file's setting."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.tls.ca_file: cannot read CA certificates from {tls.ca_file}: {error}"
        ) from error
    context.check_hostname = tls.check_hostname
    if tls.cert_file is not None:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(
                tls.cert_file, tls.key_file, password=tls.read_key_password() or ""
            )
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"kafka.tls: cannot load cert_file {tls.cert_file} with key_file {tls.key_file}: "
                f"{error}; check that they are PEM, belong together, and key_password"
            ) from error
    return context


def _identity_of(file: str) -> tuple[int, int, int] | None:
    # A mounted Secret is a link to a link, which is replaced: the file has another inode then.
    try:
        stat = Path(file).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
