"""Requests to a generator and their results, for tests of a running service."""

import asyncio
from typing import Any

import orjson
from aiokafka.structs import ConsumerRecord

from tests.e2e.running_service import Service

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def line(custom_id: str, url: str = CHAT, **body: Any) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def completion(custom_id: str, tokens: int, **body: Any) -> bytes:
    """A request that generates exactly that many tokens."""
    return line(
        custom_id,
        COMPLETIONS,
        **{"prompt": "The river", "max_tokens": tokens, "ignore_eos": True, **body},
    )


def chat(custom_id: str, content: str, **body: Any) -> bytes:
    messages = [{"role": "user", "content": content}]
    return line(custom_id, messages=messages, **{"max_tokens": 8, "temperature": 0, **body})


def results_of(records: list[ConsumerRecord], prefix: str) -> list[dict[str, Any]]:
    results = [orjson.loads(record.value) for record in records]
    return [each for each in results if each["custom_id"].startswith(prefix)]


def wait_for_records(service: Service, route: str, prefix: str, count: int) -> list[ConsumerRecord]:
    """Return all records of the results topic, in the order of their arrival."""
    topic = service.route(route).results_topic
    read = asyncio.run(
        service.read(topic, lambda records: len(results_of(records, prefix)) >= count)
    )
    return sorted(read, key=lambda record: record.timestamp)


def attempts_of(records: list[ConsumerRecord], prefix: str) -> dict[str, int]:
    """Return how often the model was asked, by custom_id."""
    return {
        results_of([record], prefix)[0]["custom_id"]: int(dict(record.headers)["headrace-attempts"])
        for record in records
        if results_of([record], prefix)
    }


def wait_for_results(service: Service, route: str, prefix: str, count: int) -> list[dict[str, Any]]:
    """Return the results with that prefix in the order of their arrival; each request has one."""
    results = results_of(wait_for_records(service, route, prefix, count), prefix)
    assert len({each["custom_id"] for each in results}) == len(results) == count
    return results


def generated_tokens(result: dict[str, Any]) -> int:
    tokens: int = result["response"]["body"]["usage"]["completion_tokens"]
    return tokens


def dead_letters(service: Service) -> int:
    return asyncio.run(service.count_records(service.route("chat").dead_letters_topic))
