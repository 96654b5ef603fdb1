"""The synchronous client and the drop-in for openai's, on a real broker."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from headrace_client import AsyncOpenAI, ClosedError, Connection, Headrace, OpenAI, Route
from tests.integration.client.answering_service import AnsweringService
from tests.integration.client.model_answers import BAD, LOST

pytestmark = pytest.mark.kafka

SCRIPT = """
import sys
from headrace_client import {kind}
client = {kind}(bootstrap=sys.argv[1], requests_topic=sys.argv[2], results_topic=sys.argv[3])
{body}
"""
ASYNC_BODY = """
import asyncio
async def main():
    response = await client.embeddings.create(model="m", input=["abc"])
    print(response.data[0].embedding)
asyncio.run(main())
"""
SYNC_BODY = """
print(client.embed(["abc"]).vectors[0].tolist())
"""


async def test_threads_share_a_client(arguments: dict[str, Any], service: AnsweringService) -> None:
    def work() -> list[int]:
        with Headrace(**arguments) as client, ThreadPoolExecutor(8) as threads:
            texts = ["x" * number for number in range(1, 65)]
            found = threads.map(lambda text: int(client.embed([text]).vectors[0, 0]), texts)
            chat = client.chat([{"role": "user", "content": "hi"}])
            assert chat.choices[0].message.content == "hi!"
            job = client.submit(
                ({"url": "/v1/embeddings", "body": {"input": text}} for text in texts), job="j"
            )
            assert len(list(job.results())) == job.progress().answered_requests == 64
            return list(found)

    assert await asyncio.to_thread(work) == list(range(1, 65))
    assert not [each for each in threading.enumerate() if each.name == "headrace-client"]


async def test_a_closed_client_says_so(arguments: dict[str, Any]) -> None:
    def work() -> None:
        client = Headrace(**arguments)
        client.close()
        client.close()
        client.embed(["a"])

    with pytest.raises(ClosedError, match="make a new one"):
        await asyncio.to_thread(work)


@pytest.mark.parametrize(("kind", "body"), [("AsyncOpenAI", ASYNC_BODY), ("Headrace", SYNC_BODY)])
async def test_a_script_that_closes_nothing_ends(
    kind: str, body: str, connection: Connection, route: Route, service: AnsweringService
) -> None:
    ran = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-c",
            SCRIPT.format(kind=kind, body=body),
            connection.bootstrap,
            route.requests_topic,
            route.results_topic,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[3.0, 1.0]\n", "")


async def test_gathered_calls_of_openai(
    arguments: dict[str, Any], service: AnsweringService
) -> None:
    async with AsyncOpenAI(**arguments, max_in_flight_requests=200) as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": str(number)}]
                )
                for number in range(2_000)
            )
        )
        assert [each.choices[0].message.content for each in answers] == [
            f"{number}!" for number in range(2_000)
        ]
        assert answers[0]._request_id is not None
        embedded = await client.embeddings.create(model="m", input=["a", "bb"], dimensions=2)
        assert embedded.data[1].embedding == [2.0, 1.0]
        assert embedded.usage.total_tokens == 2
        raw = await client.embeddings.create(model="m", input="a", encoding_format="base64")
        # As of openai's own client: text, whatever the type says.
        assert str(raw.data[0].embedding) == "AACAPwAAgD8="
        completion = await client.completions.create(model="m", prompt="ho")
        assert completion.choices[0].text == "ho!"


async def test_errors_of_openai(arguments: dict[str, Any], service: AnsweringService) -> None:
    async with AsyncOpenAI(**arguments) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.embeddings.create(model="m", input=[BAD])
        assert refused.value.param == "input"
        impatient = client.with_options(timeout=0.5)
        with pytest.raises(openai.APITimeoutError, match=r"within 0\.5 s"):
            await impatient.chat.completions.create(
                model="m", messages=[{"role": "user", "content": LOST}]
            )
        with pytest.raises(openai.APITimeoutError, match=r"within 0\.7 s"):
            await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": LOST}], timeout=0.7
            )
        with pytest.raises(openai.BadRequestError, match="stream"):
            await client.chat.completions.create(model="m", messages=[], stream=True)


async def test_the_synchronous_openai(arguments: dict[str, Any], service: AnsweringService) -> None:
    def work() -> None:
        with OpenAI(**arguments) as client:
            response = client.embeddings.create(model="m", input=["abc"])
            assert response.data[0].embedding == [3.0, 1.0]
            with pytest.raises(openai.BadRequestError):
                client.with_options(timeout=30).embeddings.create(model="m", input=[BAD])

    await asyncio.to_thread(work)
