"""Answers of a model that needs no weights: a text's vector is its length."""

import base64
from array import array
from typing import Any

from schemas.wire.results import ErrorCode
from tests.integration.client.answering_service import Answer, Failure, Refusal

BAD, LOST, BROKEN, LARGE = "bad", "lost", "broken", "large"
"""Texts that are refused, never answered, dead-lettered, and too large together with others."""


def answer(url: str, body: dict[str, Any]) -> Answer:
    if url == "/v1/chat/completions":
        return _chat(body)
    if url == "/v1/completions":
        return {
            "id": "x",
            "object": "text_completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "text": f"{body['prompt']}!"}],
        }
    texts = _texts(body)
    if BAD in texts or "" in texts:
        return _refusal("input: is bad", "invalid_value", "input")
    if LARGE in texts and len(texts) > 1:
        return _refusal("the answer is too large", "result_too_large", None)
    if BROKEN in texts:
        return Failure(ErrorCode.MODEL_FAILED, "out of memory")
    if LOST in texts:
        return None
    around = {"object": "list", "model": "m", "usage": {"prompt_tokens": len(texts)}}
    around["usage"] = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    if url == "/v1/embeddings":
        return {**around, "data": [_vector(index, text) for index, text in enumerate(texts)]}
    if url == "/v1/score":
        data = [{"index": index, "score": len(text)} for index, text in enumerate(texts)]
        return {**around, "data": data}
    if url == "/v1/rerank":
        ranked = [
            {"index": index, "relevance_score": float(len(text)), "document": {"text": text}}
            for index, text in enumerate(texts)
        ]
        ranked.sort(key=lambda each: -len(texts[int(str(each["index"]))]))
        return {"id": "r", **around, "results": ranked[: body.get("top_n")]}
    labels = [
        {"index": index, "label": text[0], "probs": [1.0], "num_classes": 1}
        for index, text in enumerate(texts)
    ]
    return {**around, "data": labels}


def _texts(body: dict[str, Any]) -> list[str]:
    found = body.get("input") or body.get("documents") or []
    return [found] if isinstance(found, str) else list(found)


def _vector(index: int, text: str) -> dict[str, Any]:
    content = base64.b64encode(array("f", [len(text), 1.0]).tobytes()).decode()
    return {"object": "embedding", "index": index, "embedding": content}


def _refusal(message: str, code: str, param: str | None) -> Refusal:
    return Refusal(
        400,
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": param,
                "code": code,
            }
        },
    )


def _chat(body: dict[str, Any]) -> Answer:
    said = body["messages"][-1]["content"]
    if said == LOST:
        return None
    if said == BAD:
        return _refusal("messages: are bad", "invalid_value", "messages")
    message = {"role": "assistant", "content": f"{said}!"}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model", "m"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
