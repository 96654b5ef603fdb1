"""What a file of request lines needs of a model: its kind, and the names it is called by. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from headrace.errors import UserError
from headrace.records.lines import BadLine
from headrace_client.routes import ENDPOINTS_OF_KIND, endpoint_name

_KINDS_BY_CHOICE = ("embedder", "classifier", "reranker", "generator")
"""An endpoint that several kinds answer is the last one's."""
_KIND_OF = {
    endpoint_name(url): kind for kind in _KINDS_BY_CHOICE for url in ENDPOINTS_OF_KIND[kind]
}
MOST_NAMES = 64


@dataclass(frozen=True, slots=True)
class NeededModel:
    """What the lines ask for.

    Attributes:
        kind: Of the settings.
        names: What ``body.model`` has, as far as the lines were read.
    """

    kind: str
    names: tuple[str, ...]


def needed_model(lines: Iterable[bytes | BadLine], name: str) -> NeededModel:
    """Look at the first lines of a file; ``UserError`` if they fit no kind, or several.

    Lines that are no requests are passed over: the job answers them. ``name`` is the file's.
    """
    first: dict[str, str] = {}
    names: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        url, model = _asked(line)
        if model is not None and len(names) < MOST_NAMES:
            names[model] = None
        if url is None:
            continue
        kind = _KIND_OF.get(endpoint_name(url))
        if kind is None:
            raise UserError(
                f"{name}: line {number} has the url {url}, which no kind of model answers; there "
                f"are {', '.join(f'/{each}' for each in _KIND_OF)}. Of your own model, say "
                "--kind custom and name it in the settings"
            )
        first.setdefault(kind, f"line {number} ({url})")
    if len(first) > 1:
        raise UserError(
            f"{name}: its lines need several models: {', '.join(first.values())}; split the file "
            "by url, or name a pipeline of the settings"
        )
    if not first:
        raise UserError(f"{name}: no line with a url among the first; say --kind")
    return NeededModel(next(iter(first)), tuple(names))


def _asked(line: bytes | BadLine) -> tuple[str | None, str | None]:
    if isinstance(line, BadLine):
        return None, None
    request = orjson.loads(line)
    url, body = request.get("url"), request.get("body")
    model = body.get("model") if isinstance(body, dict) else None
    return (
        url if isinstance(url, str) else None,
        model if isinstance(model, str) and model else None,
    )
