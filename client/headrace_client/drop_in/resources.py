"""The calls of ``AsyncOpenAI`` that a service can answer."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from headrace_client.calls import answers, openai_types
from headrace_client.calls.sender import Sender
from headrace_client.drop_in.parameters import clean, seconds
from headrace_client.drop_in.raising import raise_openai_error
from headrace_client.errors import ClientError, SettingsError, UnsupportedCallError
from headrace_client.wire import names

if TYPE_CHECKING:
    from openai.types import Completion, CreateEmbeddingResponse
    from openai.types.chat import ChatCompletion

CALLS = "chat.completions.create, completions.create and embeddings.create"


class Resource:
    """A part of the client; every other attribute of openai's raises ``UnsupportedCallError``."""

    _path = ""

    def __init__(self, sender: Sender, timeout_s: float | None) -> None:
        self._sender = sender
        self._timeout_s = timeout_s

    def __getattr__(self, name: str) -> Any:
        raise unsupported(f"{self._path}.{name}")

    async def _ask(self, url: str, kind: str, parameters: dict[str, Any]) -> Any:
        try:
            body, timeout = clean(parameters)
            timeout_s = seconds(timeout, self._timeout_s)
            result = await self._sender.request(url, body, None, timeout_s)
        except ClientError as error:
            raise_openai_error(error, url)
        return openai_types.typed(kind, result.body, result.id)


class ChatCompletions(Resource):
    _path = "chat.completions"

    def create(self, **parameters: Any) -> "Coroutine[Any, Any, ChatCompletion]":
        """Return a chat completion; parameters as openai's, without ``stream``."""
        return self._ask(names.CHAT_URL, openai_types.CHAT, parameters)


class Chat(Resource):
    _path = "chat"

    def __init__(self, sender: Sender, timeout_s: float | None) -> None:
        super().__init__(sender, timeout_s)
        self.completions = ChatCompletions(sender, timeout_s)


class Completions(Resource):
    _path = "completions"

    def create(self, **parameters: Any) -> "Coroutine[Any, Any, Completion]":
        """Return a completion; parameters as openai's, without ``stream``."""
        return self._ask(names.COMPLETIONS_URL, openai_types.COMPLETION, parameters)


class Embeddings(Resource):
    _path = "embeddings"

    async def create(self, **parameters: Any) -> "CreateEmbeddingResponse":
        """Return embeddings; a long ``input`` is split into requests and put together.

        Vectors travel in base64, and are lists of floats unless ``encoding_format="base64"``.
        """
        try:
            body, timeout = clean(parameters)
            timeout_s = seconds(timeout, self._timeout_s)
            if "input" not in body:
                raise SettingsError("input: is missing; give one text, or a list")
            given = body.pop("input")
            wanted = body.get("encoding_format", "float")
            body["encoding_format"] = "base64"
            inputs = [given] if _is_one(given) else list(given)
            parts = await self._sender.in_parts(
                names.EMBEDDINGS_URL, body, "input", inputs, None, timeout_s
            )
        except ClientError as error:
            raise_openai_error(error, names.EMBEDDINGS_URL)
        response: CreateEmbeddingResponse = openai_types.typed(
            openai_types.EMBEDDINGS, _join(parts, wanted, body.get("output_dtype")), ""
        )
        return response


def unsupported(what: str) -> UnsupportedCallError:
    return UnsupportedCallError(
        f"{what} cannot be answered through Kafka: this client has {CALLS}; use openai's own "
        "client for the rest"
    )


def _is_one(value: Any) -> bool:
    """Tell one text, or the token ids of one, from a list of them."""
    return isinstance(value, str) or (bool(value) and isinstance(value[0], int))


def _join(
    parts: list[tuple[int, dict[str, Any]]], wanted: str, output_dtype: str | None
) -> dict[str, Any]:
    data = []
    for first, body in parts:
        for item in answers.in_order(body["data"]):
            vector = item["embedding"]
            if wanted != "base64":
                vector = answers.decode_vector(vector, output_dtype or answers.FLOAT).tolist()
            data.append({**item, "index": first + item["index"], "embedding": vector})
    bodies = [body for _first, body in parts]
    tokens = [body.get("usage") or {} for body in bodies]
    return {
        **bodies[0],
        "data": data,
        "usage": {
            name: sum(each.get(name, 0) for each in tokens)
            for name in ("prompt_tokens", "total_tokens")
        },
    }
