"""Whether the brokers that a cluster names can be reached from here.

Clients ask ``kafka.bootstrap`` for the brokers' advertised listeners, and use these from then on.
If the addresses are of another network, aiokafka reports an unknown topic or a node that is not
ready, about 40 s later.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import BrokerMetadata

_LONG_S = 3.0
"""A start that takes longer is checked."""
_CONNECT_S = 2.0


async def contact(client: AIOKafkaClient) -> None:
    """Connect to one broker that a bootstrapped client knows, or raise ``KafkaConnectionError``."""
    brokers = client.cluster.brokers()
    for broker in brokers:
        # A broker that does not answer must not delay those that do.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                if await client.ready(broker.nodeId):
                    return
    if brokers:
        raise errors.KafkaConnectionError("no broker of the cluster can be connected to")


async def within_reach(
    starting: Coroutine[Any, Any, None],
    client: AIOKafkaClient,
    doing: str,
    unreachable: Callable[[str], Exception],
) -> None:
    """Await a client's start; ``unreachable`` if it fails and no broker can be reached.

    Args:
        starting: The start.
        client: What is started, or what it connects with.
        doing: What for; the message begins with it.
        unreachable: Makes the error of a message.
    """
    task = asyncio.create_task(starting)
    try:
        await asyncio.wait([task], timeout=_LONG_S)
        has_failed = task.done() and isinstance(task.exception(), errors.KafkaError)
        if has_failed or not task.done():
            await _check(client.cluster.brokers(), doing, unreachable)
        await task
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, errors.KafkaError):
                await task


async def _check(
    brokers: Iterable[BrokerMetadata], doing: str, unreachable: Callable[[str], Exception]
) -> None:
    known = sorted(brokers, key=lambda broker: str(broker.nodeId))
    reasons = await asyncio.gather(*(_unreachable(each.host, each.port) for each in known))
    if known and all(reasons):
        named = ", ".join(
            f"{each.host}:{each.port} (broker {each.nodeId}: {reason})"
            for each, reason in zip(known, reasons, strict=True)
        )
        raise unreachable(
            f"{doing}: kafka.bootstrap answers, but none of the brokers that it names can be "
            f"reached from here: {named}. Set the brokers' advertised.listeners to addresses that "
            "this machine reaches, or open the way to these"
        )


async def _unreachable(host: str, port: int) -> str:
    try:
        async with asyncio.timeout(_CONNECT_S):
            _reader, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no answer within {_CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
