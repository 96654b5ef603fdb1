"""Which requests topic an endpoint or a model's name means. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from headrace_client.errors import RouteError, SettingsError
from headrace_client.sections import SectionReader
from headrace_client.wire import names

ENDPOINTS_OF_KIND: dict[str, frozenset[str]] = {
    "embedder": frozenset({names.EMBEDDINGS_URL, names.RERANK_URL, names.SCORE_URL}),
    "classifier": frozenset({names.CLASSIFY_URL}),
    "reranker": frozenset({names.RERANK_URL, names.SCORE_URL}),
    "generator": frozenset({names.CHAT_URL, names.COMPLETIONS_URL}),
}
"""Models of other kinds name their endpoints in ``urls``."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One requests topic and where its results are.

    Attributes:
        name: As in the settings file; control records name it.
        requests_topic: Where requests are published.
        results_topic: Where their results come.
        dead_letters_topic: Where requests end that were given up.
        control_topic: Where cancellations are published; without it nothing can be cancelled.
        group: The service's consumer group: it tells whether anybody reads the requests.
        endpoints: The urls that its model answers; empty if they are not known.
        models: The names by which requests may call its model; empty if they are not known.
        fail_with_result: Whether a dead letter also gives a result with its error.
        reply_topics: Patterns of the topics that requests may name for their results.
    """

    name: str
    requests_topic: str
    results_topic: str
    dead_letters_topic: str | None = None
    control_topic: str | None = None
    group: str | None = None
    endpoints: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    fail_with_result: bool = True
    reply_topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("requests_topic", "results_topic", "dead_letters_topic", "control_topic"):
            topic = getattr(self, key)
            if topic is not None and not _TOPIC.fullmatch(topic):
                raise SettingsError(
                    f"routes.{self.name}.{key}: {topic!r} is no topic's name; it has letters, "
                    "digits, dots, dashes and underscores, at most 249"
                )

    def serves(self, url: str) -> bool:
        """Tell whether the model answers ``url``, as far as the endpoints are known."""
        meant = endpoint_name(url)
        return not self.endpoints or any(endpoint_name(each) == meant for each in self.endpoints)

    def __str__(self) -> str:
        serves = ", ".join(sorted(self.endpoints)) or "any endpoint"
        models = f", model {' or '.join(self.models)}" if self.models else ""
        return f"{self.name} ({self.requests_topic}: {serves}{models})"


class Routes(Mapping[str, Route]):
    """The routes by name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.name: route for route in routes}

    def __getitem__(self, name: str) -> Route:
        return self._routes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)

    def find(self, url: str | None, *, route: str | None = None, model: str | None = None) -> Route:
        """Return the route of a request; ``RouteError`` lists the routes if none or several fit.

        ``route`` names it. Else it is the one that serves ``url``, and of several the one whose
        model is called ``model``. A ``url`` of ``None`` is served by every route.
        """
        if route is not None:
            if route not in self._routes:
                raise RouteError(f"there is no route {route!r}; {self._listed()}")
            return self._routes[route]
        fitting = [each for each in self._routes.values() if url is None or each.serves(url)]
        called = [each for each in fitting if model in each.models]
        found = called or fitting
        if len(found) == 1:
            return found[0]
        if found and model is not None and not called:
            raise RouteError(
                f"several routes serve {url}, and none of them model {model!r}; {self._listed()}"
            )
        if not found:
            raise RouteError(f"no route serves {url}; {self._listed()}")
        raise RouteError(
            f"several routes serve {url or 'requests'}: name one with route= or model=; "
            f"{self._listed()}"
        )

    def _listed(self) -> str:
        if not self._routes:
            return (
                "no routes are known: name the settings file with config=, or give "
                "requests_topic= and results_topic="
            )
        return f"the routes are {'; '.join(map(str, self._routes.values()))}"


def endpoint_name(url: str) -> str:
    """Return what an endpoint's many spellings have in common, as the service reads them."""
    path = re.split(r"[?#]", url.strip(), maxsplit=1)[0]
    if host := _HOST.match(path):
        path = path[host.end() :]
        path = path[max(path.rfind("/v1/"), 0) :]
    path = path.strip("/")
    return "rerank" if path == "v2/rerank" else path.removeprefix("v1/")


def read_routes(routes: SectionReader, models: SectionReader) -> Routes:
    """Read the sections ``routes`` and ``models``; other keys in them are the service's."""
    return Routes(_read_route(name, routes, models) for name in routes.names())


def _read_route(name: str, routes: SectionReader, models: SectionReader) -> Route:
    section = routes.section(name)
    if section is None:
        raise SettingsError(f"routes.{name}: is empty; set requests_topic and results_topic")
    model_name = section.optional_text("model")
    model = None if model_name is None else models.section(model_name)
    endpoints: frozenset[str] = frozenset()
    model_names: tuple[str, ...] = () if model_name is None else (model_name,)
    if model is not None:
        kind = model.optional_text("kind") or ""
        endpoints = ENDPOINTS_OF_KIND.get(kind, frozenset(model.texts("urls")))
        model_names += model.texts("served_names") + model.keys_of("adapters")
    return Route(
        name=name,
        requests_topic=section.text("requests_topic"),
        results_topic=section.text("results_topic"),
        dead_letters_topic=section.optional_text("dead_letters_topic"),
        control_topic=section.optional_text("control_topic"),
        group=section.optional_text("group"),
        endpoints=endpoints,
        models=model_names,
        fail_with_result=section.flag("fail_with_result", default=True),
        reply_topics=section.texts("reply_topics"),
    )
