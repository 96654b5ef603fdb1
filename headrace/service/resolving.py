"""Puts bodies from an object store back into results."""

from dataclasses import replace

import orjson

from consumer.engine.bodies.store import BodyRefusedError, StoreError
from consumer.object_store.object_store import open_store
from headrace.errors import UserError
from headrace.records.reading import TopicRecord
from schemas.settings.file import ClaimCheckSettings, RouteSettings
from schemas.wire.references import BodyReference
from schemas.wire.results import encode_response_line


class Resolver:
    """Replaces body references that are in the route's own store with the bodies.

    Raises ``UserError`` without a ``claim_check``, ``SourceError`` if its store cannot be used.
    """

    def __init__(self, route_name: str, route: RouteSettings) -> None:
        settings = route.claim_check
        if settings is None:
            raise UserError(
                f"--resolve: routes.{route_name}.claim_check is not set, so its results have no "
                "references"
            )
        store = open_store(route_name, _reading_own(route, settings))
        if store is None:
            raise AssertionError("a route with claim_check has a store. This is a bug.")
        self._store = store
        self.problems: list[str] = []

    async def resolve(self, record: TopicRecord) -> TopicRecord:
        """Return a result with its body; adds to ``problems`` what cannot be resolved."""
        try:
            line = orjson.loads(record.value or b"")
            response = line["response"]
            reference = BodyReference.model_validate(response["body_ref"])
            head = line["id"], line["custom_id"], response["status_code"]
        except (ValueError, KeyError, TypeError):
            return record
        try:
            body = await self._store.read(reference)
        except (BodyRefusedError, StoreError) as error:
            self.problems.append(f"{record.partition}/{record.offset}: {reference.url}: {error}")
            return record
        return replace(record, value=encode_response_line(*head, body))

    def close(self) -> None:
        self._store.close()


def _reading_own(route: RouteSettings, settings: ClaimCheckSettings) -> RouteSettings:
    own = settings.model_copy(update={"request_prefixes": (settings.store,)})
    return route.model_copy(update={"claim_check": own})
