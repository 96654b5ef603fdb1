"""Pipelines that cannot work are refused with the key and the fix."""

from typing import Any

import pytest
import yaml

from headrace.settings.file import parse_settings
from headrace.settings.problems import SettingsError
from schemas.settings.pipeline_references import (
    ReferenceSyntaxError,
    parse_reference,
    references_in,
)

GOOD = """\
models:
  guarded:
    kind: pipeline
    urls: [/v1/chat/completions]
    answer: generate
    steps:
      guard:
        model: classifier
        url: /classify
        body: {input: $request.text, truncation: false}
        refuse:
        - when: {value: $guard.data.0.probabilities.toxic, at_least: 0.5}
      generate:
        model: chat
        after: [guard]
  classifier: {kind: classifier, source: "wheel:c"}
  chat: {kind: generator, source: "wheel:g"}
  unused: {kind: embedder, source: "wheel:e"}
routes:
  chat:
    model: guarded
    requests_topic: in
    results_topic: out
    dead_letters_topic: dead
    group: g
"""


def change(text: str, path: str, value: Any) -> bytes:
    """Set (or, for ``None``, remove) the value at a dotted path."""
    settings = yaml.safe_load(text)
    *above, last = path.split("/")
    place = settings
    for part in above:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(settings, sort_keys=False).encode()


def test_a_guarded_generator_is_legal_and_says_which_models_it_needs() -> None:
    settings = parse_settings(GOOD.encode())
    assert settings.models_behind("guarded") == ("classifier", "chat", "guarded")
    assert settings.models_behind("unused") == ("unused",)
    guarded = settings.models["guarded"]
    assert guarded.kind == "pipeline"
    assert guarded.endpoints == {"/v1/chat/completions"}
    assert guarded.num_cpus < 1
    assert guarded.steps["generate"].needs("generate") == {"guard"}


STEPS = "models/guarded/steps"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            f"{STEPS}/guard/model",
            "clasifier",
            "models.guarded.steps.guard.model: no model 'clasifier'; models has: chat, ",
        ),
        (
            f"{STEPS}/guard/url",
            "/v1/embeddings",
            (
                "models.guarded.steps.guard.url: model 'classifier' does not answer "
                "/v1/embeddings; set it to one of: /classify"
            ),
        ),
        (
            f"{STEPS}/guard/url",
            None,
            (
                "models.guarded.steps.guard.url: is unset, so the step takes the request's own, "
                "and model 'classifier' does not answer the pipeline's /v1/chat/completions"
            ),
        ),
        ("models/guarded/answer", "answer", "answer: no step 'answer'; steps has: guard, generate"),
        (
            f"{STEPS}/generate/after",
            ["gard"],
            "steps.generate.after: no step 'gard'; steps has: guard, generate",
        ),
        (f"{STEPS}/generate/after", ["generate"], "steps.generate.after: names the step itself"),
        (
            f"{STEPS}/generate/body",
            {"x": "$generate.y"},
            "steps.generate.body: refers to the step's own response",
        ),
        (
            f"{STEPS}/generate/body",
            {"x": [{"y": "$gard.label"}]},
            "steps.generate.body and refuse: no step 'gard'",
        ),
        (
            f"{STEPS}/guard/after",
            ["generate"],
            "steps: wait for each other in a circle (",
        ),
        (f"{STEPS}/request", {"model": "chat"}, "steps.request: the name stands for the request"),
        (
            f"{STEPS}/guard/body",
            {"input": "$request.txt"},
            "'$request.txt': the request has $request.body, $request.custom_id, $request.text",
        ),
        (
            f"{STEPS}/guard/body",
            {"input": "$request.text.0"},
            "'$request.text.0': $request.text is a text and has no parts",
        ),
        (
            f"{STEPS}/guard/body",
            {"input": "$ 5 a day"},
            "'$ 5 a day' is no reference; write $request.FIELD or $STEP.PATH, or $$",
        ),
        (
            f"{STEPS}/guard/refuse",
            [{"when": {"value": "$request.nothing", "equals": 1}}],
            "'$request.nothing': the request has",
        ),
        (
            f"{STEPS}/guard/refuse",
            [{"when": {"value": "$guard.x", "equals": 1, "at_least": 2}}],
            "set exactly one of equals, at_least and at_most",
        ),
        (
            f"{STEPS}/guard/refuse",
            [{"when": {"value": "guard.x", "equals": 1}}],
            "must match pattern",
        ),
        (f"{STEPS}", {}, "models.guarded.steps: is empty; add at least one entry"),
        (
            "models/classifier/graceful_shutdown_timeout_s",
            5,
            "models.classifier.graceful_shutdown_timeout_s: must be at least the 30.0 s",
        ),
    ],
)
def test_what_cannot_work_is_refused(path: str, value: object, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(change(GOOD, path, value), "h.yaml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_pipelines_may_call_pipelines_but_not_themselves(depth: int) -> None:
    def pipeline(model: str) -> dict[str, Any]:
        return {
            "kind": "pipeline",
            "urls": ["/v1/chat/completions"],
            "steps": {"next": {"model": model}},
            "answer": "next",
        }

    names = [f"p{number}" for number in range(depth)]
    chain = dict(zip(names, map(pipeline, [*names[1:], "chat"]), strict=True))
    text = yaml.safe_dump(yaml.safe_load(GOOD) | {})
    content = yaml.safe_load(text)
    content["models"] |= chain
    settings = parse_settings(yaml.safe_dump(content).encode())
    assert settings.models_behind("p0") == ("chat", *reversed(names))

    content["models"][names[-1]] = pipeline("p0")
    with pytest.raises(SettingsError, match=r"a pipeline may not call itself.*p0"):
        parse_settings(yaml.safe_dump(content).encode())


def test_references() -> None:
    reference = parse_reference("$guard.data.0.label")
    assert (reference.root, reference.path) == ("guard", ("data", "0", "label"))
    assert parse_reference("$guard").path == ()
    found = references_in({"a": ["$x.y", "$$no", "no $z"], "b": {"c": "$request.body.q"}})
    assert [each.text for each in found] == ["$x.y", "$request.body.q"]


@pytest.mark.parametrize(
    "text", ["$", "$.x", "$a.", "$a..b", "$A.b", "$a b", "$request", "$request.x", "$request.url.x"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ReferenceSyntaxError, match=r"^'"):
        parse_reference(text)
