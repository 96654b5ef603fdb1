"""Gathers calls of ``headrace_client.AsyncOpenAI``, as a user's script does.

Prints ``{"seconds": ...}``: from the first call to the last answer in hand. The client is connected
and the service has answered one call before.
"""

import argparse
import asyncio
import json

from benchmarks.workloads import chat_messages
from handoff.clock import SystemClock
from headrace_client import AsyncOpenAI


async def gather_calls(bootstrap: str, requests: str, results: str, calls: int) -> float:
    """Return the seconds that ``calls`` gathered calls took."""
    clock = SystemClock()
    async with AsyncOpenAI(
        bootstrap=bootstrap, requests_topic=requests, results_topic=results
    ) as client:
        await client.chat.completions.create(model="noop", messages=chat_messages(0))
        started_s = clock.monotonic()
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(model="noop", messages=chat_messages(number))
                for number in range(calls)
            )
        )
        took_s = clock.monotonic() - started_s
    if not all(answer.choices[0].message.content for answer in answers):
        raise AssertionError("an answer is empty")
    return took_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "requests", "results"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--calls", type=int, required=True)
    given = parser.parse_args()
    seconds = asyncio.run(gather_calls(given.bootstrap, given.requests, given.results, given.calls))
    print(json.dumps({"seconds": seconds}))
