"""Tells by a name whether what has it is a secret. Pure."""

import re
from collections.abc import Iterable, Iterator

_BETWEEN_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_SECRETS = frozenset({
    "password", "passwd", "passphrase", "pwd", "secret",
    "apikey", "accesskey", "privatekey", "secretkey", "authtoken", "accesstoken",
})  # fmt: skip
_OF_KEYS = frozenset({
    "access", "account", "api", "encryption", "master", "private", "sas", "secret", "shared",
    "signing",
})  # fmt: skip
_OF_TOKENS = frozenset({
    "access", "api", "auth", "bearer", "github", "gitlab", "hf", "hub", "id", "refresh", "sas",
    "security", "session",
})  # fmt: skip
_OF_VOCABULARIES = frozenset({
    "audio", "bos", "cls", "decoder", "end", "eos", "first", "image", "last", "mask", "next", "pad",
    "sep", "special", "start", "stop", "unk", "video",
})  # fmt: skip
_WHERE_OR_WHO = frozenset({
    "dir", "endpoint", "env", "environment", "file", "kind", "method", "mode", "path", "type",
    "uri", "url", "user", "username", "variable",
})  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether a setting, an option or a variable of this name is a secret."""
    words = [each.rstrip("0123456789") for each in _BETWEEN_WORDS.split(name.strip())]
    words = [each.lower() for each in words if each]
    if not words:
        return False
    before, last = (words[-2] if len(words) > 1 else ""), words[-1]
    one = last.removesuffix("s")
    if one in _SECRETS or last in _SECRETS:
        return True
    if one == "key":
        return before in _OF_KEYS
    if last == "token":
        # A model's own have such names: eos_token.
        return before not in _OF_VOCABULARIES
    # Others count them: max_tokens.
    return last == "tokens" and before in _OF_TOKENS


def names_no_secret(name: str) -> bool:
    """Whether what stands below a secret's name is no secret itself: where it is, or whose."""
    words = [each for each in _BETWEEN_WORDS.split(name) if each]
    return bool(words) and words[-1].lower() in _WHERE_OR_WHO


def arguments_with_names(values: Iterable[object]) -> Iterator[tuple[str, object]]:
    """Yield arguments of a command line, each with its name: ``--token x``, and ``--token=x``.

    The name is ``""`` where there is none.
    """
    name = ""
    for value in values:
        if isinstance(value, str) and value.startswith("-"):
            flag, equals, _ = value.partition("=")
            yield (flag if equals else ""), value
            name = "" if equals else flag
        else:
            yield name, value
            name = ""
