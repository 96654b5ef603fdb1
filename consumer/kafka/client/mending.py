"""The repairs of aiokafka that the client has too, as the service needs them."""
# ruff: noqa: SLF001 - there is no public way to these

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from consumer.ports import SourceError
from headrace_client.kafka.mending import ended_task, mend_client


def mend_client_of(owner: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    mend_client(owner._client if isinstance(owner, AIOKafkaConsumer) else owner.client)


def check_tasks(consumer: AIOKafkaConsumer) -> None:
    """Raise ``SourceError`` if a task that a started consumer needs has ended."""
    ended = ended_task(consumer)
    if ended is not None:
        what, error = ended
        raise SourceError(
            f"{what}, so that nothing more would be read; the consumer starts afresh"
        ) from error
