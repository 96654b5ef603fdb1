"""How much one generation request may ask for.

Checks the values as vLLM's request class has read them: it reads "16" and 16.0 as 16, so a check of
the bare body could be bypassed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from serve_models.generation.checks import RequestRefusedError

MOST_SEQUENCES = 128
"""OpenAI's limit for ``n``; here for prompts times ``n``."""
MOST_LOGPROBS = 131_072
"""Each becomes 50 bytes of JSON and takes some 10 µs of the event loop that a replica's records
share: this many are some 7 MB, and delay the others by a second or two."""
_LENGTHS = ("max_tokens", "max_completion_tokens")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_NOT_FOR_THE_ENGINE = frozenset({"messages"})
"""Rendered to text; and pydantic's lazy lists in it can be read only once."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of the engine.

    Attributes:
        max_model_len: Tokens of prompt and answer together.
        max_logprobs: The most log probabilities for a token beside its own.
        most_queued: Sequences beyond which vLLM says that it has no room; ``None`` is no limit.
    """

    max_model_len: int
    max_logprobs: int
    most_queued: int | None = None


def clipped_lengths(values: Mapping[str, Any], limits: ModelLimits) -> dict[str, int]:
    """Return the fields that ask for more than the model can answer, with the model's length."""
    return {
        field: limits.max_model_len
        for field in _LENGTHS
        if (values.get(field) or 0) > limits.max_model_len
    }


def check_request(values: Mapping[str, Any], body: Mapping[str, Any], limits: ModelLimits) -> None:
    """Raise ``RequestRefusedError`` for too large a request, or a number that vLLM cannot encode.

    ``values`` are the fields of vLLM's request, lengths clipped, as read from ``body``.
    """
    for field, value in values.items():
        # vLLM would make an entry for the request, then fail to encode it; the entry would stay.
        if field not in _NOT_FOR_THE_ENGINE and _is_beyond_64_bits(value):
            raise RequestRefusedError(field, "is a whole number, or has one, of more than 64 bits")
    prompts, choices = _count_prompts(values), max(1, values.get("n") or 1)
    if prompts * choices > MOST_SEQUENCES:
        raise RequestRefusedError(
            "prompt" if prompts > 1 else "n",
            f"{prompts} prompts of {choices} choices are over the limit of {MOST_SEQUENCES} "
            "sequences in one request; split it",
        )
    if limits.most_queued is not None and choices > limits.most_queued:
        # vLLM would answer each time that it has no room at the moment.
        raise RequestRefusedError(
            "n",
            f"{choices} choices are over the {limits.most_queued} that this route's engine holds "
            "(engine_args.max_num_queued_reqs); split it",
        )
    _check_logprobs(values, body, prompts, choices, limits)


def _is_beyond_64_bits(value: object) -> bool:
    if isinstance(value, int):
        return not _INT64_MIN <= value <= _INT64_MAX
    return any(_is_beyond_64_bits(each) for each in _parts(value))


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, BaseModel) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        return vars(value).values()
    return ()


def _count_prompts(values: Mapping[str, Any]) -> int:
    prompt, embeds = values.get("prompt"), values.get("prompt_embeds")
    prompts = int(prompt is not None)
    # A list of numbers is one prompt, of token ids.
    if isinstance(prompt, list) and not all(isinstance(each, int) for each in prompt):
        prompts = len(prompt)
    prompts += len(embeds) if isinstance(embeds, list) else int(embeds is not None)
    return max(1, prompts)


def _check_logprobs(
    values: Mapping[str, Any],
    body: Mapping[str, Any],
    prompts: int,
    choices: int,
    limits: ModelLimits,
) -> None:
    each_token = _logprobs_of_answer(values, choices, limits)
    each_prompt_token = _logprobs_of_prompt(values, limits)
    asked = values.get("max_completion_tokens")
    asked = values.get("max_tokens") if asked is None else asked
    tokens = limits.max_model_len if asked is None else max(asked, 0)
    count = prompts * choices * tokens * each_token
    if each_prompt_token:
        prompt_tokens = min(_most_prompt_tokens(values, body), prompts * limits.max_model_len)
        count += choices * prompt_tokens * each_prompt_token
    if count <= MOST_LOGPROBS:
        return
    if not each_token:
        field = "prompt_logprobs"
    elif values.get("use_beam_search"):
        field = "n"
    else:
        field = "top_logprobs" if "top_logprobs" in values else "logprobs"
    lower = "n, top_logprobs, prompt_logprobs or max_completion_tokens"
    if "prompt" in values:
        lower = "n, logprobs, prompt_logprobs, max_tokens or the number of prompts"
    raise RequestRefusedError(
        field,
        f"{prompts * choices} sequences of up to {tokens} tokens would give up to {count} log "
        f"probabilities ({each_token} for each token, {each_prompt_token} for each of the "
        f"prompt's), which is over the limit of {MOST_LOGPROBS} in one result; lower {lower}",
    )


def _logprobs_of_answer(values: Mapping[str, Any], choices: int, limits: ModelLimits) -> int:
    if values.get("use_beam_search"):
        # vLLM chooses the beams by them, requested or not.
        return 2 * choices + 1
    asked = values.get("logprobs")
    if "top_logprobs" in values:
        asked = (values["top_logprobs"] or 0) if asked else None
    if asked is None:
        return 0
    return _clipped(len(values.get("logprob_token_ids") or ()) or asked, limits) + 1


def _logprobs_of_prompt(values: Mapping[str, Any], limits: ModelLimits) -> int:
    asked = values.get("prompt_logprobs")
    if asked is None and values.get("echo"):
        asked = values.get("top_logprobs", values.get("logprobs"))
    return 0 if asked is None else _clipped(asked, limits) + 1


def _clipped(logprobs: int, limits: ModelLimits) -> int:
    """Return how many vLLM gives: it refuses more than its limit itself, and -1 stands for all."""
    return limits.max_logprobs if logprobs < 0 else min(logprobs, limits.max_logprobs)


def _most_prompt_tokens(values: Mapping[str, Any], body: Mapping[str, Any]) -> int:
    """Return an upper bound without the template: a text has no more tokens than bytes.

    Tokenizing here would happen twice, and in the event loop.
    """
    prompt = values.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], str):
        return sum(len(each) if isinstance(each, list) else 1 for each in prompt)
    try:
        return len(orjson.dumps(body))
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return _INT64_MAX
