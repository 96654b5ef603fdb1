"""Refuses secrets in the options of models: Ray stores what a deployment is built from."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.settings.kafka import REFERENCE

_SECRET_NAME = re.compile(r"(^|[._-])(password|passwd|secret|api_?key|access_?key)$", re.IGNORECASE)


def check_no_secrets(options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if a custom class would get a secret by its options."""
    for path, value in _texts(options, "options"):
        if _SECRET_NAME.search(path) and not REFERENCE.fullmatch(value):
            raise ValueError(
                f"{path}: Ray would store this secret; write ${{NAME}}, and set NAME in the "
                "environment in which Ray starts, or give the class a file's name"
            )


def check_no_token(engine_args: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if vLLM would get the hub's token by its arguments."""
    token = engine_args.get("hf_token")
    if token is not None and not isinstance(token, bool):
        raise ValueError(
            "engine_args.hf_token: Ray would store it; set HF_TOKEN in the environment in which "
            "Ray starts, or in that of `headrace models pull`"
        )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each, path)
