"""Repairs of aiokafka 0.14, for the client and for the service.

* A connection that closes between its lookup and its use raises ``KeyError`` or ``OSError``, where
  callers expect Kafka's errors. In a fetch, or in a group's coordination, that ends the task.
* It asks only the brokers that it knows for metadata. Once all have other addresses, as in a
  cluster whose pods were replaced, it would ask the old addresses for ever.
* Nothing awaits its tasks. Without the one that fetches, polls return nothing and look healthy.
* It gives a batch up whose partition has no leader for ``request_timeout_ms``, although the batch
  may have been sent before. Here it waits, and whoever published has a timeout of their own.
* A fetch that the embedded broker answers at once with nothing is repeated at once.
* It connects with the credentials of its construction for ever; see ``security.credentials``.
"""
# ruff: noqa: SLF001 - there is no public way to these

import asyncio
import contextlib
import logging
import math
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import BrokerMetadata

from headrace_client.kafka.security.credentials import Credentials, Renewal

log = logging.getLogger(__name__)

_LEAST_EMPTY_FETCH_S = 0.025


def mend_client(client: AIOKafkaClient) -> None:
    """Have a client raise Kafka's errors, and find brokers that moved; call it before the start."""
    send, get_conn, update = client.send, client._get_conn, client._metadata_update
    provider = client._sasl_oauth_token_provider
    renewal = Renewal(client, provider) if isinstance(provider, Credentials) else None

    async def send_or_fail(node_id: Any, request: Any, **options: Any) -> Any:
        try:
            return await send(node_id, request, **options)
        except (OSError, KeyError) as error:
            raise errors.KafkaConnectionError(f"broker {node_id}: {error!r}") from error

    async def get_conn_or_none(node_id: Any, **options: Any) -> Any:
        try:
            if renewal is None:
                return await get_conn(node_id, **options)
            group = options.get("group", ConnectionGroup.DEFAULT)
            await renewal.prepare(node_id, group, get_conn)
            edition = renewal.edition
            connection = await get_conn(node_id, **options)
        except (OSError, KeyError) as error:
            log.warning(
                "no connection to broker %s: %r",
                node_id,
                error,
                extra={
                    "event": "broker_silent",
                    "broker": str(node_id),
                    "error_class": type(error).__name__,
                },
            )
            return None
        if connection is not None:
            renewal.note(connection, edition)
        return connection

    async def update_or_bootstrap(metadata: ClusterMetadata, topics: set[str]) -> bool:
        if await update(metadata, topics):
            return True
        cluster = client.cluster
        known, cluster._brokers = cluster._brokers, {}
        cluster._bootstrap_brokers = {
            f"bootstrap-{number}": BrokerMetadata(f"bootstrap-{number}", host, port, None)
            for number, (host, port, _family) in enumerate(client.hosts)
        }
        try:
            is_found = bool(await update(metadata, topics))
        finally:
            cluster._brokers = cluster._brokers or known
        if is_found:
            log.warning(
                "no known broker answered; asked kafka.bootstrap where they are now",
                extra={"event": "bootstrap_asked_again"},
            )
        return is_found

    if renewal is not None:
        bootstrap = client.bootstrap

        async def bootstrap_anew() -> None:
            renewal.refresh()
            await bootstrap()

        client.bootstrap = bootstrap_anew
    client.send = send_or_fail
    client._get_conn = get_conn_or_none
    client._metadata_update = update_or_bootstrap


def mend_producer(producer: AIOKafkaProducer) -> None:
    mend_client(producer.client)
    producer._message_accumulator._batch_ttl = math.inf


def mend_consumer(consumer: AIOKafkaConsumer) -> None:
    mend_client(consumer._client)


def space_out_empty_fetches(consumer: AIOKafkaConsumer) -> None:
    """Have a started consumer pause after a fetch that returned nothing at once.

    Kafka answers such a fetch after ``fetch_max_wait_ms``. The embedded broker answers at once, so
    that an idle consumer would take half a CPU.
    """
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request

    async def fetch_spaced_out(*args: Any) -> bool:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        has_records = bool(await fetch(*args))
        left_s = started_s + _LEAST_EMPTY_FETCH_S - loop.time()
        if not has_records and left_s > 0:
            # A consumer that stops cancels its fetches, and expects them to return.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left_s)
        return has_records

    fetcher._proc_fetch_request = fetch_spaced_out


def ended_task(consumer: AIOKafkaConsumer) -> tuple[str, BaseException | None] | None:
    """Say which task that a started consumer needs has ended, and by which error."""
    fetching, asking = consumer._fetcher._fetch_task, consumer._client._sync_task
    for what, task in (("fetches records", fetching), ("asks for metadata", asking)):
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            return f"the Kafka client's task that {what} has ended ({error!r})", error
    return None
