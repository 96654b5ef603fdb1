"""Errors are openai's own, with what its users look at."""

from collections.abc import Callable

import openai
import pytest

from headrace_client import (
    AsyncOpenAI,
    ClientError,
    DeliveryError,
    OpenAI,
    RequestCancelledError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    ResultTimeoutError,
    RouteError,
    SettingsError,
    UnsupportedCallError,
)
from headrace_client.drop_in import raising
from headrace_client.drop_in.raising import raise_openai_error


def refused(status_code: int) -> RequestRefusedError:
    body = {"error": {"message": "no", "type": "t", "param": "input", "code": "invalid_value"}}
    return RequestRefusedError(
        "no",
        code="invalid_value",
        status_code=status_code,
        param="input",
        body=body,
        result_id="rq-0-1",
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(400), openai.BadRequestError),
        (refused(404), openai.NotFoundError),
        (refused(413), openai.APIStatusError),
        (refused(422), openai.UnprocessableEntityError),
        (refused(429), openai.RateLimitError),
        (refused(503), openai.InternalServerError),
        (RequestFailedError("x", code="model_failed"), openai.InternalServerError),
        (RequestCancelledError("x", code="request_cancelled"), openai.APIStatusError),
        (RequestExpiredError("x", code="request_expired"), openai.APITimeoutError),
        (ResultTimeoutError("nobody reads rq"), openai.APITimeoutError),
        (DeliveryError("x"), openai.APIConnectionError),
        (SettingsError("x"), openai.BadRequestError),
        (RouteError("x"), openai.NotFoundError),
    ],
)
def test_the_class_of_an_error(error: ClientError, kind: type[Exception]) -> None:
    with pytest.raises(openai.APIError) as caught:
        raise_openai_error(error, "/v1/embeddings")

    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_a_refusal_has_its_code_its_field_and_the_results_id() -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        raise_openai_error(refused(400), "/v1/embeddings")

    assert (caught.value.code, caught.value.param) == ("invalid_value", "input")
    assert caught.value.request_id == "rq-0-1"
    assert str(caught.value) == "Error code: 400 - no"


def test_a_timeout_says_what_the_service_does() -> None:
    with pytest.raises(openai.APITimeoutError, match="nobody reads rq"):
        raise_openai_error(ResultTimeoutError("nobody reads rq"), "/v1/embeddings")


def test_without_openai_the_errors_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raising, "openai_package", lambda: None)

    with pytest.raises(RequestRefusedError):
        raise_openai_error(refused(400), "/v1/embeddings")


@pytest.mark.parametrize("kind", [AsyncOpenAI, OpenAI])
def test_every_other_call_says_what_there_is(kind: type[AsyncOpenAI] | type[OpenAI]) -> None:
    client = kind(
        api_key="sk",
        base_url="https://api.openai.com/v1",
        max_retries=5,
        default_headers={"a": "b"},
        timeout=30,
        requests_topic="rq",
        results_topic="rs",
    )

    calls: list[Callable[[], object]] = [
        lambda: client.responses.create,
        lambda: client.chat.completions.stream,
        lambda: client.embeddings.with_raw_response,
        lambda: client.with_streaming_response,
    ]
    for call in calls:
        with pytest.raises(
            UnsupportedCallError, match=r"this client has chat\.completions\.create"
        ):
            call()
    assert not hasattr(client, "images")
