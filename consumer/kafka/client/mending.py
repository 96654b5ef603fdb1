"""Repairs of aiokafka 0.14's client, and a check that its tasks run.

* A connection that closes between its lookup and its use raises ``KeyError`` or ``OSError`` where
  callers expect Kafka's errors. In a fetch, or in a group's coordination, that ends the task.
* It asks only the brokers that it knows for metadata. Once all have other addresses, as in a
  cluster whose pods were replaced, it would ask the old addresses for ever.
* Nothing awaits its tasks. Without the one that fetches, polls return nothing and look healthy.
"""
# ruff: noqa: SLF001 - there is no public way to these

import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import BrokerMetadata

from consumer.ports import SourceError

log = logging.getLogger(__name__)


def mend(client: AIOKafkaClient) -> None:
    """Have a client raise Kafka's errors, and find brokers that moved; call it before the start."""
    send, get_conn, update = client.send, client._get_conn, client._metadata_update

    async def send_or_fail(node_id: Any, request: Any, **options: Any) -> Any:
        try:
            return await send(node_id, request, **options)
        except (OSError, KeyError) as error:
            raise errors.KafkaConnectionError(f"broker {node_id}: {error!r}") from error

    async def get_conn_or_none(node_id: Any, **options: Any) -> Any:
        try:
            return await get_conn(node_id, **options)
        except (OSError, KeyError) as error:
            log.warning("no connection to broker %s: %r", node_id, error)
            return None

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
            log.warning("no known broker answered; asked kafka.bootstrap where they are now")
        return is_found

    client.send = send_or_fail
    client._get_conn = get_conn_or_none
    client._metadata_update = update_or_bootstrap


def mend_client_of(owner: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    mend(owner._client if isinstance(owner, AIOKafkaConsumer) else owner.client)


def check_tasks(consumer: AIOKafkaConsumer) -> None:
    """Check the tasks that a started consumer needs.

    Raises:
        SourceError: One has ended; says which.
    """
    fetching, asking = consumer._fetcher._fetch_task, consumer._client._sync_task
    for what, task in (("fetches records", fetching), ("asks for metadata", asking)):
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            raise SourceError(
                f"the Kafka client's task that {what} has ended ({error!r}), so that nothing more "
                "would be read; the consumer starts afresh"
            ) from error
