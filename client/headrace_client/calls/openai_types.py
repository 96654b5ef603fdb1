"""Responses as the ``openai`` package's types, where that is installed; else as ``Body``.

The package takes a second to import: it is imported with the first response that needs it.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from headrace_client.calls.answers import Body

CHAT = "openai.types.chat:ChatCompletion"
COMPLETION = "openai.types:Completion"
EMBEDDINGS = "openai.types:CreateEmbeddingResponse"


@cache
def openai_package() -> Any | None:
    return import_module("openai") if find_spec("openai") is not None else None


@cache
def _type(name: str) -> Any | None:
    if openai_package() is None:
        return None
    module, _, kind = name.partition(":")
    return getattr(import_module(module), kind)


def typed(name: str, body: dict[str, Any], result_id: str) -> Any:
    """Return a body as the type of that name; ``_request_id`` is the result's id."""
    kind = _type(name)
    if kind is None:
        return Body(body)
    try:
        response = kind.model_validate(body)
    except ValueError:
        # A newer field, or one of vLLM's: openai's own client does not check either.
        response = kind.construct(**body)
    response._request_id = result_id  # noqa: SLF001 - as openai's own client sets it
    return response
