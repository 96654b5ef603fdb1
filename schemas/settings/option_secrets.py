"""Refuses secrets in what a user writes freely: Ray stores what a deployment is built from."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.settings.secret_names import arguments_with_names, is_secret_name, names_no_secret

REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")

_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_FIX = (
    "write ${NAME}, and set NAME in the environment in which Ray starts, or give the class a "
    "file's name"
)


def check_no_secrets(
    options: Mapping[str, Any], where: str = "options", *, whose: str = "Ray", fix: str = _FIX
) -> None:
    """Raise ``ValueError`` if ``options`` have a secret, by its name or by its form.

    The error says who would store it, and the fix.
    """
    for path, value, is_named in _values(options, where, is_secret=False):
        is_text = isinstance(value, str)
        is_secret = is_named or (is_text and _PASSWORD_IN_URL.search(value) is not None)
        if is_secret and value != "" and not (is_text and REFERENCE.fullmatch(value)):
            raise ValueError(f"{path}: {whose} would store this secret; {fix}")


def check_no_token(engine_args: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if vLLM would get the hub's token, or another secret, by arguments."""
    token = engine_args.get("hf_token")
    if token is not None and not isinstance(token, bool):
        raise ValueError(
            "engine_args.hf_token: Ray would store it; set HF_TOKEN in the environment in which "
            "Ray starts, or in that of `headrace models pull`"
        )
    check_no_secrets(
        engine_args, "engine_args", fix="set it in the environment in which Ray starts"
    )


def _values(value: Any, path: str, *, is_secret: bool) -> Iterator[tuple[str, Any, bool]]:
    """Yield texts and numbers with their paths, and whether a name on the way says secret."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            name = str(key)
            below = is_secret_name(name) or (is_secret and not names_no_secret(name))
            yield from _values(each, f"{path}.{name}", is_secret=below)
    elif isinstance(value, list | tuple):
        for name, each in arguments_with_names(value):
            yield from _values(each, path, is_secret=is_secret or is_secret_name(name))
    elif isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value, is_secret
