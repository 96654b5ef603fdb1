"""A request finds its route by name, by model, or as the only one that serves its endpoint."""

import pytest

from headrace_client import Route, RouteError, Routes


def route(name: str, *endpoints: str, models: tuple[str, ...] = ()) -> Route:
    return Route(
        name=name,
        requests_topic=f"{name}.requests",
        results_topic=f"{name}.results",
        endpoints=frozenset(endpoints),
        models=models,
    )


ROUTES = Routes(
    [
        route("small", "/v1/embeddings", "/v1/score", models=("minilm", "mini")),
        route("large", "/v1/embeddings", models=("e5",)),
        route("chat", "/v1/chat/completions", models=("qwen",)),
    ]
)


@pytest.mark.parametrize(
    ("url", "named", "model", "found"),
    [
        ("/v1/chat/completions", None, None, "chat"),
        ("/chat/completions?x=1", None, None, "chat"),
        ("https://host/gateway/v1/chat/completions/", None, None, "chat"),
        # The service says 404 for a model that its route does not have.
        ("/v1/chat/completions", None, "gpt-4o", "chat"),
        ("/v1/embeddings", None, "mini", "small"),
        ("/v1/embeddings", None, "e5", "large"),
        ("/v1/embeddings", "large", "mini", "large"),
        ("/v1/score", None, None, "small"),
        ("/v1/anything", "chat", None, "chat"),
    ],
)
def test_the_route_of_a_request(url: str, named: str | None, model: str | None, found: str) -> None:
    assert ROUTES.find(url, route=named, model=model).name == found


@pytest.mark.parametrize(
    ("url", "named", "model", "message"),
    [
        ("/v1/embeddings", None, None, "several routes serve /v1/embeddings: name one with route="),
        ("/v1/embeddings", None, "bge", "none of them model 'bge'"),
        ("/classify", None, None, "no route serves /classify"),
        ("/classify", "clasify", None, "there is no route 'clasify'"),
        (None, None, None, "several routes serve requests"),
    ],
)
def test_an_error_lists_the_routes(
    url: str | None, named: str | None, model: str | None, message: str
) -> None:
    with pytest.raises(RouteError) as caught:
        ROUTES.find(url, route=named, model=model)

    assert message in str(caught.value)
    assert "chat (chat.requests: /v1/chat/completions, model qwen)" in str(caught.value)


def test_without_routes_the_error_says_how_to_name_them() -> None:
    with pytest.raises(RouteError, match="requests_topic= and results_topic="):
        Routes([]).find("/v1/embeddings")


def test_a_route_by_arguments_serves_everything() -> None:
    assert Routes([route("default")]).find("/v1/whatever", model="any").name == "default"
