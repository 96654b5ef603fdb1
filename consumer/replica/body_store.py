"""From a route's ``claim_check`` settings to an object store and the sizes that count."""

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.sink.message_size import LARGEST_REQUEST_BYTES
from consumer.object_store.object_store import ObjectStore
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings, RouteSettings
from schemas.wire.references import IllegalUrlError


def open_store(route_name: str, route: RouteSettings) -> ObjectStore | None:
    """Return the object store that a route's bodies go to and come from, if it has one.

    For the start of a consumer: a local directory of results is made where it is missing.

    Raises:
        SourceError: A url is illegal, or its package is not installed.
    """
    settings = route.claim_check
    if settings is None:
        return None
    try:
        store = ObjectStore(
            store_url=settings.store,
            route=route_name,
            read_prefixes=settings.request_prefixes,
            max_object_bytes=settings.max_object_bytes,
        )
    except (IllegalUrlError, ImportError) as error:
        raise SourceError(f"routes.{route_name}.claim_check: {error}") from error
    store.make_place()
    return store


async def result_limit_bytes(kafka: KafkaSettings, route: RouteSettings) -> int:
    """Return the most bytes, key and headers included, of one record on the results topic.

    Raises:
        SourceError: The cluster cannot be reached.
    """
    async with TopicAdmin(kafka) as admin:
        limits_bytes = await admin.message_limits_bytes([route.results_topic])
    return min(limits_bytes[route.results_topic], LARGEST_REQUEST_BYTES)
