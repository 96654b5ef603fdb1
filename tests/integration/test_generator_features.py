"""What docs/models.md says of generators, with its settings and requests, on a real vLLM engine.

The checkpoints are tiny, and answer by a script. Two engines serve the module. One reads texts: its
checkpoint is quantised, and it has the settings of reasoning, tools, adapters and speculation
together. One reads pictures.
"""

import asyncio
import base64
import io
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from handoff.chunk import STATUS_OK
from schemas.settings.models import GeneratorSettings
from serve_models.generation.engine_process import set_engine_environment
from tests.quantised.checkpoints import write_quantised
from tests.scripted_checkpoint import (
    IMAGE_TOKENS,
    write_adapter,
    write_picture_checkpoint,
)
from tests.snippets import blocks
from tests.vllm_marks import STARTS_VLLM

if TYPE_CHECKING:
    from serve_models.generation.vllm import VllmEngine

CHAT = "/v1/chat/completions"
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SIZES = {"max_model_len": 256, "max_num_seqs": 8}
"""In place of the page's, which are for larger models and machines."""
MAX_IMAGE_PIXELS = 1_000_000
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *STARTS_VLLM,
]


def page_model(file: str) -> dict[str, Any]:
    """Return the model of one of the page's settings files."""
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.marks.get("file") == file:
            model: dict[str, Any] = yaml.safe_load(block.text)["models"]["chat"]
            return model
    raise AssertionError(f"{PAGE.name} has no {file}")


def page_requests(prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the bodies of the page's requests whose custom_id begins so."""
    for line in re.findall(r'^\{"custom_id".*\}$', PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        request = orjson.loads(line)
        if request["custom_id"].startswith(prefix):
            assert request["url"] == CHAT
            yield request["body"]


@asynccontextmanager
async def running(
    folder: Path, adapters: dict[str, Path], **changes: Any
) -> AsyncIterator["VllmEngine"]:
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"path:{folder}",
            "num_cpus": os.cpu_count(),
            "cpu_kv_cache_gib": 0.1,
            **changes,
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dict(os.environ).items():
            patch.setenv(name, value)
        set_engine_environment(settings)
        from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- reads the environment

        engine = await VllmEngine.start(settings, name="chat", model=folder, adapters=adapters)
        yield engine
        engine.shut_down()


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> dict[str, int]:
    return write_quantised(folder / "model", "awq")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(folder: Path, vocabulary: dict[str, int]) -> AsyncIterator["VllmEngine"]:
    """The page's settings but for those of pictures, all at once."""
    poet = write_adapter(folder / "poet", vocabulary, "hm")
    # On a CPU without fast bfloat16 it would be float32, for which there are no kernels.
    together: dict[str, Any] = {"dtype": "bfloat16"}
    for file in ("reasoning.yaml", "tools.yaml", "adapters.yaml", "speculation.yaml"):
        together |= page_model(file)["engine_args"]
    async with running(
        folder / "model", {"poet": poet}, engine_args={**together, **SIZES}
    ) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["VllmEngine"]:
    folder = tmp_path_factory.mktemp("pictures")
    write_picture_checkpoint(folder)
    engine_args = page_model("pictures.yaml")["engine_args"]
    more = {"enable_prompt_tokens_details": True, "allowed_media_domains": ["localhost"]}
    async with running(
        folder,
        {},
        max_image_pixels=MAX_IMAGE_PIXELS,
        engine_args={**engine_args, **SIZES, **more},
    ) as engine:
        yield engine


async def ask(engine: "VllmEngine", content: object, /, **body: Any) -> tuple[int, dict[str, Any]]:
    asked = {"messages": [{"role": "user", "content": content}], "temperature": 0, **body}
    async with asyncio.timeout(120):
        answer = await engine.answer(CHAT, asked)
    response: dict[str, Any] = orjson.loads(answer.body)
    return answer.status, response


async def message(engine: "VllmEngine", content: object, /, **body: Any) -> dict[str, Any]:
    status, response = await ask(engine, content, **body)
    assert status == STATUS_OK, response
    found: dict[str, Any] = response["choices"][0]["message"]
    return found


async def refused(engine: "VllmEngine", content: object, /, **body: Any) -> dict[str, Any]:
    status, response = await ask(engine, content, **body)
    assert 400 <= status < 500, response
    error: dict[str, Any] = response["error"]
    assert "--" not in error["message"]
    return error


# --- reasoning ---


async def test_thoughts_are_apart_from_the_answer_and_counted(model: "VllmEngine") -> None:
    (body,) = page_requests("r-")
    status, response = await ask(model, "[reason]", **{**body, "messages": [user("[reason]")]})
    assert status == STATUS_OK
    (choice,) = response["choices"]
    assert choice["message"]["reasoning"] == "Clouds are dark."
    assert choice["message"]["content"] == "It rains."
    usage = response["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens"] == 7


async def test_a_budget_of_thoughts_makes_the_model_answer(model: "VllmEngine") -> None:
    status, response = await ask(model, "[reason]", thinking_token_budget=2)
    assert status == STATUS_OK
    said = response["choices"][0]["message"]
    assert (said["reasoning"], said["content"]) == ("Clouds are", "It rains.")
    assert response["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2
    assert (await refused(model, "x", thinking_token_budget=-5))["param"] == "thinking_token_budget"


async def test_tokens_that_run_out_leave_no_answer_and_thoughts_may_be_left_out(
    model: "VllmEngine",
) -> None:
    _, response = await ask(model, "[reason]", max_completion_tokens=3)
    (choice,) = response["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning"] == "Clouds are"
    assert choice["finish_reason"] == "length"
    said = await message(model, "[reason]", include_reasoning=False)
    assert (said["reasoning"], said["content"]) == (None, "It rains.")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_a_message_goes_back_in_with_its_thoughts(model: "VllmEngine", field: str) -> None:
    said = await message(model, "[reason]")
    thoughts = said.pop("reasoning")
    messages = [user("[reason]"), {**said, field: thoughts}, user("[reason]")]
    assert (await message(model, "", messages=messages))["content"] == "It rains."


# --- tools ---


async def test_tools_are_called_as_the_requests_of_the_page_ask(model: "VllmEngine") -> None:
    bodies = list(page_requests("t-"))
    assert [body.get("tool_choice", "auto") for body in bodies] == [
        "auto",
        {"type": "function", "function": {"name": "weather"}},
        "required",
    ]
    for body in bodies:
        status, response = await ask(model, "", **{**body, "messages": [user("[call]")]})
        assert status == STATUS_OK, response
        (choice,) = response["choices"]
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        assert orjson.loads(call["function"]["arguments"]) == {"city": "Paris"}
        # As OpenAI's: only a function that was demanded by name ends as a plain answer does.
        is_named = isinstance(body.get("tool_choice"), dict)
        assert choice["finish_reason"] == ("stop" if is_named else "tool_calls")


async def test_a_call_and_its_answer_go_back_in(model: "VllmEngine") -> None:
    called = await message(model, "[call]", tools=[WEATHER])
    (call,) = called["tool_calls"]
    answered = {"role": "tool", "tool_call_id": call["id"], "content": "[reason]"}
    messages = [user("[call]"), called, answered]
    assert (await message(model, "", messages=messages, tools=[WEATHER]))["content"] == "It rains."


async def test_no_tool_is_called_where_none_may_be(model: "VllmEngine") -> None:
    said = await message(model, "[call]", tools=[WEATHER], tool_choice="none")
    assert "tool_calls" not in said or not said["tool_calls"]
    assert "weather" in said["content"]


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("tool_choice", {"tools": [WEATHER], "tool_choice": "sometimes"}),
        (
            "tool_choice",
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "no_such"}},
            },
        ),
        ("tool_choice", {"tool_choice": "required"}),
        ("tools", {"tools": [{"type": "function", "function": {"parameters": {}}}]}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}),
        ("tools", {"tools": [5]}),
    ],
)
async def test_a_wrong_tool_is_refused_by_the_name_of_the_field(
    model: "VllmEngine", param: str, body: dict[str, Any]
) -> None:
    error = await refused(model, "[call]", **body)
    assert error["param"] == param, error


# --- adapters ---


async def test_adapters_come_and_go_and_the_model_stays_as_it_is(
    model: "VllmEngine", folder: Path, vocabulary: dict[str, int]
) -> None:
    poet = dict(model.adapters.loaded)
    clerk = write_adapter(folder / "clerk", vocabulary, "tock")
    under_way = asyncio.create_task(ask(model, "[tick]", max_tokens=200))

    await model.adapters.apply({**poet, "clerk": f"path:{clerk}"})

    assert (await message(model, "x", model="clerk", max_tokens=4))["reasoning"] == "tock" * 4
    assert (await message(model, "x", model="poet", max_tokens=4))["reasoning"] == "hm" * 4
    assert (await message(model, "[reason]"))["content"] == "It rains."
    status, response = await ask(model, "x", model="clerk", max_tokens=1)
    assert (status, response["model"]) == (STATUS_OK, "clerk")

    long = asyncio.create_task(ask(model, "x", model="clerk", max_tokens=150))
    async with asyncio.timeout(30):
        while not model.adapters._loaded["clerk"].requests:
            await asyncio.sleep(0.005)
    await model.adapters.apply(poet)
    error = await refused(model, "x", model="clerk")
    assert error["code"] == "model_not_found"
    assert "clerk" not in error["message"].partition("serves")[2]
    for task, tokens in ((long, 150), (under_way, 200)):
        status, response = await task
        assert status == STATUS_OK
        assert response["usage"]["completion_tokens"] == tokens
    async with asyncio.timeout(30):
        while len(await model._engine.list_loras()) > 1:
            await asyncio.sleep(0.01)


async def test_a_name_that_comes_back_has_the_new_weights(
    model: "VllmEngine", folder: Path, vocabulary: dict[str, int]
) -> None:
    before = dict(model.adapters.loaded)
    other = write_adapter(folder / "other-poet", vocabulary, "tick")
    # Long enough for a block of the prefix cache.
    prompt = "the same words again " * 8
    assert (await message(model, prompt, model="poet", max_tokens=2))["reasoning"] == "hm" * 2
    await model.adapters.apply({"poet": f"path:{other}"})
    assert (await message(model, prompt, model="poet", max_tokens=2))["reasoning"] == "tick" * 2
    await model.adapters.apply(before)
    assert (await message(model, prompt, model="poet", max_tokens=2))["reasoning"] == "hm" * 2


async def test_an_adapter_that_only_the_engine_can_judge_is_kept_apart(
    model: "VllmEngine", folder: Path, vocabulary: dict[str, int]
) -> None:
    before = dict(model.adapters.loaded)
    broken = write_adapter(folder / "broken", vocabulary, "hm")
    unknown = "base_model.model.model.layers.0.no_such_proj.lora_A.weight"
    save_file({unknown: torch.zeros(8, 8)}, broken / "adapter_model.safetensors")
    await model.adapters.apply({**before, "broken": f"path:{broken}"})
    assert set(model.adapters.problems) == {"broken"}
    with pytest.raises(ValueError, match=r"adapters\.broken: vLLM refuses"):
        await ask(model, "x", model="broken")
    assert (await message(model, "x", model="poet", max_tokens=1))["reasoning"] == "hm"
    model.check_alive()
    await model.adapters.apply(before)


# --- speculation ---


async def test_guesses_change_no_answer_and_are_right_where_a_text_repeats_itself(
    model: "VllmEngine", monkeypatch: pytest.MonkeyPatch
) -> None:
    config = model._engine.vllm_config
    assert config.speculative_config is not None
    assert config.speculative_config.method == "ngram"
    steps = 0
    process = model._engine.output_processor.process_outputs

    def process_and_count(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        return process(*arguments, **named)

    monkeypatch.setattr(model._engine.output_processor, "process_outputs", process_and_count)
    said = await message(model, "[tick]", max_tokens=100)
    assert said["reasoning"] == "ticktock" * 50
    # A step gives up to four guessed tokens and one more.
    assert 20 <= steps <= 50


async def test_a_quantised_checkpoint_answers_as_it_should(model: "VllmEngine") -> None:
    assert model._engine.model_config.quantization in {"awq", "auto_awq"}
    assert (await message(model, "[reason]"))["content"] == "It rains."


# --- pictures ---


def picture(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def user(content: object) -> dict[str, Any]:
    return {"role": "user", "content": content}


def shown(*urls: str) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*parts, {"type": "text", "text": "[look]"}]


async def test_a_picture_is_read_and_its_tokens_are_counted(seeing_model: "VllmEngine") -> None:
    (body,) = page_requests("p-")
    (asked,) = body["messages"]
    text, image = asked["content"]
    content = [image, {**text, "text": "[look]"}]
    for urls in ([image["image_url"]["url"]], [picture(60, 40)] * 4):
        content = shown(*urls)
        status, response = await ask(seeing_model, content)
        assert status == STATUS_OK, response
        assert response["choices"][0]["message"]["content"] == "A picture."
        details = response["usage"]["prompt_tokens_details"]
        assert details["multimodal_tokens"] == {"image": IMAGE_TOKENS * len(urls)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (shown(*[picture(60, 40)] * 5), "4"),
        (shown(picture(2000, 1000)), "max_image_pixels"),
        (shown("data:image/png;base64,AAAA"), "cannot be read"),
        (shown("data:image/png;base64,not base64"), "base64"),
        (shown(picture(60, 40)[:-40] + "AAAA"), "picture|image"),
        (shown("http://example.org/a.png"), "domain"),
        (shown("file:///etc/passwd"), "local file"),
        ([{"type": "image_url", "image_url": {"url": picture(9, 9)}, "uuid": "a"}], "uuid"),
        ([{"type": "image_embeds", "image_embeds": "AAAA"}], "enable_mm_embeds"),
        ([{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}], "video"),
    ],
)
async def test_a_picture_that_may_not_be_read_is_refused(
    seeing_model: "VllmEngine", content: object, said: str
) -> None:
    error = await refused(seeing_model, content)
    assert str(error["param"]).partition(".")[0] == "messages", error
    assert re.search(said, error["message"]), error
    seeing_model.check_alive()


@pytest.mark.parametrize("field", ["mm_processor_kwargs", "media_io_kwargs"])
async def test_how_pictures_are_processed_is_a_setting(
    seeing_model: "VllmEngine", field: str
) -> None:
    error = await refused(seeing_model, shown(picture(9, 9)), **{field: {"image": {}}})
    assert error["param"] == field


async def test_a_model_of_texts_refuses_pictures(model: "VllmEngine") -> None:
    error = await refused(model, shown(picture(9, 9)))
    assert error["param"] == "messages"
    assert "multimodal" in error["message"]
