"""A record's way through a pipeline: order, references, conditions, endings."""

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED
from schemas.settings.pipelines import Condition, PipelineSettings
from serve_models.pipeline.graph import (
    Ending,
    PipelineGraph,
    RecordRun,
    StepAnswerError,
    StepRequest,
)
from serve_models.pipeline.text import UnreadableTextError, request_text
from serve_models.pipeline.values import MissingValueError, holds

CHAT = "/v1/chat/completions"


def pipeline(steps: dict[str, Any], answer: str, **values: object) -> PipelineSettings:
    return PipelineSettings.model_validate(
        {"kind": "pipeline", "urls": [CHAT], "steps": steps, "answer": answer, **values}
    )


def line(custom_id: str = "c", url: str = CHAT, **body: object) -> bytes:
    value = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return orjson.dumps(value)


def start(settings: PipelineSettings, value: bytes) -> RecordRun:
    run = PipelineGraph("guarded", settings).start(value)
    assert isinstance(run, RecordRun)
    return run


def requests_of(step: list[StepRequest] | Ending) -> list[StepRequest]:
    assert not isinstance(step, Ending)
    return step


def error_of(ending: object) -> dict[str, Any]:
    assert isinstance(ending, Ending)
    error: dict[str, Any] = orjson.loads(ending.body)["error"]
    return error


def message(content: object, role: object = "user", **more: object) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(arguments: object) -> dict[str, Any]:
    return {"id": "i", "function": {"name": "f", "arguments": arguments}}


def guarded(**condition: object) -> PipelineSettings:
    refusal = {"when": {"value": "$guard.data.0.label", **(condition or {"equals": "unsafe"})}}
    return pipeline(
        {
            "guard": {
                "model": "classifier",
                "url": "/classify",
                "body": {"input": "$request.text"},
                "refuse": [refusal],
            },
            "generate": {"model": "chat", "after": ["guard"]},
        },
        "generate",
    )


def label(name: str) -> bytes:
    return orjson.dumps({"data": [{"label": name, "probs": [0.1, 0.9]}]})


def test_a_safe_request_goes_on_unchanged_and_the_answer_is_passed_through_unread() -> None:
    value = line(messages=[{"role": "user", "content": "hello"}])
    run = start(guarded(), value)
    (guard,) = requests_of(run.first())
    assert (guard.step, guard.model) == ("guard", "classifier")
    assert orjson.loads(guard.line) == {
        "custom_id": "c",
        "method": "POST",
        "url": "/classify",
        "body": {"input": "hello"},
    }
    (generate,) = requests_of(run.take("guard", 200, label("safe")))
    assert (generate.model, generate.line) == ("chat", value)
    assert run.take("generate", 200, b"{not even json") == Ending(200, b"{not even json")
    assert run.is_over
    assert run.take("generate", 200, b"again") == []


def test_an_unsafe_request_is_refused_and_says_why() -> None:
    run = start(guarded(), line(messages=[{"role": "user", "content": "hello"}]))
    run.first()
    ending = run.take("guard", 200, label("unsafe"))
    assert isinstance(ending, Ending)
    assert ending.status == 400
    assert error_of(ending) == {
        "message": "the request was refused by a guard",
        "type": "invalid_request_error",
        "param": None,
        "code": "content_filter",
        "step": "guard",
        "value": "unsafe",
    }


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"[]", b"null", b'{"data":[]}', b'{"data":[{"score":1}]}', b'{"data":"label"}'],
)
def test_a_guard_that_is_not_understood_refuses(answer: bytes) -> None:
    run = start(guarded(), line(prompt="x"))
    run.first()
    error = error_of(run.take("guard", 200, answer))
    assert error["code"] == "unreadable_condition"
    assert "$guard.data.0.label" in error["message"]
    assert error["step"] == "guard"


def test_a_guard_without_a_number_where_one_is_compared_refuses() -> None:
    run = start(guarded(at_least=0.5), line(prompt="x"))
    run.first()
    error = error_of(run.take("guard", 200, label("safe")))
    assert error["code"] == "unreadable_condition"
    assert "no number" in error["message"]


def test_a_request_without_text_never_reaches_the_guarded_model() -> None:
    error = error_of(start(guarded(), line(prompt=[1, 2, 3])).first())
    assert error["code"] == "missing_value"
    assert "step 'guard'" in error["message"]
    assert "$request.text" in error["message"]


def test_a_missing_path_names_the_reference_and_the_step() -> None:
    settings = pipeline(
        {"one": {"model": "m", "body": {"input": "$request.body.messages.1.content"}}}, "one"
    )
    run = start(settings, line(messages=[{"content": "only one"}]))
    error = error_of(run.first())
    assert error["message"] == (
        "step 'one' cannot be asked: $request.body.messages.1.content: there is no '1' in what the "
        "request has as body"
    )


def test_values_keep_their_types_and_two_dollars_are_one() -> None:
    settings = pipeline(
        {
            "one": {
                "model": "m",
                "body": {
                    "n": "$request.body.n",
                    "list": ["$request.body.list", "$$request.body", "plain $request.body"],
                    "deep": {"id": "$request.custom_id", "url": "$request.url"},
                    "all": "$request.body",
                    "number": 5,
                },
            }
        },
        "one",
    )
    body: dict[str, Any] = {"n": 7, "list": [True, None, {"x": 1.5}]}
    (request,) = requests_of(start(settings, line("id-1", **body)).first())
    assert orjson.loads(request.line)["body"] == {
        "n": 7,
        "list": [body["list"], "$request.body", "plain $request.body"],
        "deep": {"id": "id-1", "url": CHAT},
        "all": body,
        "number": 5,
    }


def test_a_whole_response_and_keys_that_look_like_positions_can_be_referred_to() -> None:
    settings = pipeline(
        {
            "one": {"model": "m"},
            "two": {"model": "m", "body": {"all": "$one", "zero": "$one.0"}},
        },
        "two",
    )
    run = start(settings, line())
    run.first()
    (request,) = requests_of(run.take("one", 200, b'{"0": "zero"}'))
    assert orjson.loads(request.line)["body"] == {"all": {"0": "zero"}, "zero": "zero"}


def test_the_pipelines_own_name_is_not_passed_on_and_others_are() -> None:
    settings = pipeline({"one": {"model": "m"}}, "one", served_names=["gpt-4o"])
    for name in ("guarded", "gpt-4o"):
        (request,) = requests_of(start(settings, line(model=name, x=1)).first())
        assert orjson.loads(request.line)["body"] == {"x": 1}
    (request,) = requests_of(start(settings, line(model="adapter")).first())
    assert orjson.loads(request.line)["body"] == {"model": "adapter"}


def test_a_steps_refusal_ends_the_record_with_the_steps_name() -> None:
    run = start(guarded(), line(prompt="x"))
    run.first()
    body = b'{"error":{"message":"input: too long","type":"t","param":"input","code":"c"}}'
    ending = run.take("guard", 413, body)
    assert isinstance(ending, Ending)
    assert ending.status == 413
    assert error_of(ending) == {
        "message": "step 'guard': input: too long",
        "type": "t",
        "param": "input",
        "code": "c",
        "step": "guard",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"too long"}', "step 'guard': too long"),
        (b"no json", "step 'guard': it gave no reason"),
        (b'{"error":{"step":"inner"}}', "step 'guard': it gave no reason"),
    ],
)
def test_a_refusal_of_any_form_names_the_step(body: bytes, message: str) -> None:
    run = start(guarded(), line(prompt="x"))
    run.first()
    assert error_of(run.take("guard", 400, body))["message"] == message


def test_failures_and_expiry_are_the_records() -> None:
    for status in (STATUS_EXPIRED, STATUS_FAILED, 503):
        run = start(guarded(), line(prompt="x"))
        run.first()
        assert run.take("guard", status, b"as it was") == Ending(status, b"as it was")
    run = start(guarded(), line(prompt="x"))
    run.first()
    with pytest.raises(StepAnswerError, match="step 'guard'"):
        run.take("guard", 200, b"no json")


def test_what_was_judged_is_what_is_passed_on() -> None:
    twice = b'{"url":"/v1/chat/completions","body":{"prompt":"unsafe","prompt":"safe"}}'
    run = start(guarded(), twice)
    (guard,) = requests_of(run.first())
    assert orjson.loads(guard.line)["body"] == {"input": "safe"}
    (generate,) = requests_of(run.take("guard", 200, label("safe")))
    assert b"unsafe" not in generate.line
    unguarded = pipeline({"one": {"model": "m"}}, "one")
    assert requests_of(start(unguarded, twice).first())[0].line == twice


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        (b"no json", 400, "invalid_request_line"),
        (b"[]", 400, "invalid_request_line"),
        (b'{"url":"/v1/chat/completions","body":[]}', 400, "invalid_request_line"),
        (line(url="/v1/other"), 404, "unknown_url"),
        (
            b'{"url":"/v1/chat/completions","body":{"model":"guarded","x":%s}}'
            % (b"[" * 400 + b"]" * 400),
            400,
            "nested_body",
        ),
    ],
)
def test_a_line_that_cannot_be_taken_is_refused(value: bytes, status: int, code: str) -> None:
    ending = PipelineGraph("guarded", guarded()).start(value)
    assert isinstance(ending, Ending)
    assert ending.status == status
    assert error_of(ending)["code"] == code


def test_a_value_nested_too_deep_to_be_written_is_refused() -> None:
    settings = pipeline({"one": {"model": "m", "body": {"x": "$request.body.x"}}}, "one")
    nested = b'{"url":"/v1/chat/completions","body":{"x":%s}}' % (b"[" * 400 + b"]" * 400)
    assert error_of(start(settings, nested).first())["code"] == "nested_body"


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ({"equals": "a"}, "a", True),
        ({"equals": 1}, 1.0, True),
        ({"equals": 1}, True, False),
        ({"equals": True}, 1, False),
        ({"equals": [1, {"x": True}]}, [1, {"x": True}], True),
        ({"equals": [1, {"x": True}]}, [1, {"x": 1}], False),
        ({"equals": None}, None, True),
        ({"equals": None}, 0, False),
        ({"at_least": 0.5}, 0.5, True),
        ({"at_least": 0.5}, 0.49, False),
        ({"at_most": 3}, 3, True),
        ({"at_most": 3}, 4, False),
        ({"at_most": 0}, 0, True),
    ],
)
def test_conditions(condition: dict[str, Any], value: object, expected: bool) -> None:
    assert holds(Condition(value="$guard.x", **condition), value) is expected


@pytest.mark.parametrize("value", [True, "0.9", None, [1]])
def test_a_comparison_with_what_is_no_number_is_an_error(value: object) -> None:
    with pytest.raises(MissingValueError, match=r"\$guard\.x is no number"):
        holds(Condition(value="$guard.x", at_least=0.5), value)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"prompt": "one"}, "one"),
        ({"prompt": ["one", "two"]}, "one\ntwo"),
        ({"input": "one"}, "one"),
        ({"messages": [message("a"), message("b")], "prompt": "c"}, "a\nb\nc"),
        (
            {
                "messages": [
                    message([{"type": "text", "text": "a"}, "b"]),
                    message([{"type": "refusal", "refusal": "c"}], role="assistant", name="d"),
                    message("e", role="tool", tool_call_id="f", name=None),
                ]
            },
            "a\nb\nc\nd\ne\nf",
        ),
        (
            {
                "messages": [
                    message(
                        None,
                        role="assistant",
                        reasoning="r",
                        tool_calls=[call("{}"), {"type": "function", **call('{"x":"\\u0062omb"}')}],
                    )
                ]
            },
            'r\ni\nf\n{}\ni\nf\n{"x":"\\u0062omb"}\n{"x":"bomb"}',
        ),
        ({"messages": [message(None, role="assistant", refusal="no")]}, "no"),
        ({"prompt": "a", "suffix": "b"}, "a\nb"),
        (
            {"prompt": "a", "tools": [{"x": "\u00fc"}], "documents": [{"text": "d"}]},
            'a\n[{"x":"\u00fc"}]\n[{"text":"d"}]',
        ),
        ({"prompt": "a", "tools": None, "chat_template": None, "temperature": 0.5}, "a"),
        # Answers, as vLLM and OpenAI give them, sent back in as messages.
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": "a",
                        "refusal": None,
                        "annotations": None,
                        "audio": None,
                        "function_call": None,
                        "tool_calls": [],
                        "reasoning": "r",
                    },
                    {"role": "assistant", "content": "b", "refusal": None, "annotations": []},
                    message(None, role="assistant", tool_calls=None, reasoning="thought"),
                    message(None, role="assistant", tool_calls=[{**call("{}"), "type": None}]),
                ]
            },
            "a\nr\nb\nthought\ni\nf\n{}",
        ),
        (
            {
                "messages": [
                    message([{"type": "text", "text": "a", "cache_control": None}]),
                    message(
                        [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
                    ),
                ]
            },
            "a\nb",
        ),
    ],
)
def test_the_text_of_a_request(body: dict[str, Any], text: str) -> None:
    assert request_text(body) == text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"tools": [{"x": "y"}]}, "body"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": {"x": 1}}, "prompt"),
        ({"prompt": "safe", "suffix": ["x"]}, "suffix"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [message("x", role="function")]}, "messages.0.role"),
        ({"messages": [message("x", role=["user"])]}, "messages.0.role"),
        ({"messages": [message("x", tools=[])]}, "messages.0.tools"),
        ({"messages": [message("x", function_call={"name": "f"})]}, "messages.0.function_call"),
        ({"messages": [message("x", annotations=[{"x": "y"}])]}, "messages.0.annotations"),
        ({"messages": [message("x", audio={"id": "a"})]}, "messages.0.audio"),
        ({"messages": [message(None)]}, "messages.0.content"),
        (
            {"messages": [message([{"type": "text", "text": "a", "cache_control": {"x": "y"}}])]},
            "messages.0.content.0.cache_control",
        ),
        ({"messages": [message("x", name=["f"])]}, "messages.0.name"),
        ({"messages": [message("x", reasoning=["r"])]}, "messages.0.reasoning"),
        ({"messages": [message([{"type": "image_url"}])]}, "messages.0.content.0"),
        (
            {"messages": [message([{"type": "image_url", "image_url": "x", "text": "hello"}])]},
            "messages.0.content.0",
        ),
        (
            {"messages": [message([{"type": "text", "text": "hello", "title": "x"}])]},
            "messages.0.content.0.title",
        ),
        ({"messages": [message([{"text": "x"}])]}, "messages.0.content.0"),
        ({"messages": [message([{"type": ["text"], "text": "x"}])]}, "messages.0.content.0"),
        ({"messages": [message([{"type": "text", "text": 5}])]}, "messages.0.content.0.text"),
        ({"messages": [message([{"type": "text"}])]}, "messages.0.content.0.text"),
        ({"messages": [message([5])]}, "messages.0.content.0"),
        ({"messages": [message("x", tool_calls="f")]}, "messages.0.tool_calls.0"),
        (
            {"messages": [message("x", tool_calls=[{"id": "i"}])]},
            "messages.0.tool_calls.0.function",
        ),
        (
            {"messages": [message("x", tool_calls=[{**call("{}"), "extra": "x"}])]},
            "messages.0.tool_calls.0.extra",
        ),
        (
            {"messages": [message("x", tool_calls=[{**call("{}"), "type": "custom"}])]},
            "messages.0.tool_calls.0.type",
        ),
        (
            {"messages": [message("x", tool_calls=[{**call("{}"), "type": ["function"]}])]},
            "messages.0.tool_calls.0.type",
        ),
        (
            {"messages": [message("x", tool_calls=[call({"x": "y"})])]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        (
            # Python's reader takes half a surrogate pair, so a template could print the rest.
            {"messages": [message("x", tool_calls=[call('{"x":"\\u0062omb\\ud800"}')])]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"messages": [message("safe")], "prompt": [1]}, "prompt"),
        ({"messages": [message("safe")], "chat_template": "{{ x }}"}, "chat_template"),
        ({"messages": [message("safe")], "chat_template_kwargs": {}}, "chat_template_kwargs"),
        ({"prompt": "safe", "truncate_prompt_tokens": 3}, "truncate_prompt_tokens"),
        ({"messages": [message("safe")], "truncation_side": "left"}, "truncation_side"),
        (
            {"messages": [message("safe")], "kv_transfer_params": {"prompt_token_ids": [1]}},
            "kv_transfer_params",
        ),
        ({"messages": [message("safe")], "prompt_token_ids": [1]}, "prompt_token_ids"),
        ({"prompt": "safe", "prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"messages": [message("safe")], "mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ({"messages": [message("safe")], "media_io_kwargs": {}}, "media_io_kwargs"),
    ],
)
def test_what_is_no_text_is_not_passed_over(body: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableTextError, match=f"^{field}:"):
        request_text(body)


@st.composite
def graphs(draw: st.DrawFn) -> PipelineSettings:
    """Any DAG: a step waits for earlier ones by reference or by ``after``, listed in any order."""
    count = draw(st.integers(1, 8))
    steps: dict[str, dict[str, Any]] = {}
    for number in range(count):
        earlier = [f"s{each}" for each in range(number)]
        subsets = st.lists(st.sampled_from(earlier), unique=True) if earlier else st.just([])
        steps[f"s{number}"] = {
            "model": f"m{draw(st.integers(0, 2))}",
            "body": {"from": [f"${each}.name" for each in draw(subsets)]},
            "after": draw(subsets),
        }
    order = draw(st.permutations(list(steps)))
    answer = draw(st.sampled_from(order))
    return pipeline({name: steps[name] for name in order}, answer)


@given(settings=graphs(), data=st.data())
def test_each_step_runs_once_and_never_before_what_it_needs(
    settings: PipelineSettings, data: st.DataObject
) -> None:
    run = start(settings, line())
    asked: Counter[str] = Counter()
    done: list[str] = []
    under_way: list[str] = []
    step = run.first()
    while True:
        assert not isinstance(step, Ending)
        for request in step:
            asked[request.step] += 1
            wanted = settings.steps[request.step]
            assert wanted.needs(request.step) <= set(done)
            assert orjson.loads(request.line)["body"]["from"] == [
                each.root for each in wanted.references
            ]
            under_way.append(request.step)
        # Steps that need nothing more are under way together, whatever the others do.
        assert set(under_way) | set(done) >= {
            name for name, each in settings.steps.items() if each.needs(name) <= set(done)
        }
        finished = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        done.append(finished)
        step = run.take(finished, 200, orjson.dumps({"name": finished}))
        if isinstance(step, Ending):
            break
    assert set(asked) == set(settings.steps)
    assert set(asked.values()) == {1}
    assert step == Ending(200, orjson.dumps({"name": settings.answer}))
    assert set(done) == set(settings.steps)
