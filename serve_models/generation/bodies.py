"""What of a generation request is refused before vLLM's own checks see it. Pure.

Those checks are a web server's, whose clients are few and whose worst body costs one connection.
Here a body that takes minutes to reject costs a replica's neighbours. What a body asks for is
judged once vLLM has read it (``generation_limits``).
"""

from collections.abc import Iterator, Mapping
from typing import Any

MOST_ENTRIES = 4096
_MEDIA_FIELDS = ("image_url", "audio_url", "video_url")


class BodyNotTakenError(ValueError):
    """A body is refused; the message names the field and the fix.

    Attributes:
        param: The field.
    """

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


def check_body(body: Mapping[str, Any], *, takes_kv_transfer: bool, takes_media_urls: bool) -> None:
    """Return if vLLM may look at a body.

    Args:
        body: The request's.
        takes_kv_transfer: Whether the engine is set up to take a prompt's cache from elsewhere.
        takes_media_urls: Whether the settings name the domains that media may be fetched from.

    Raises:
        BodyNotTakenError: It may not.
    """
    if body.get("stream"):
        raise BodyNotTakenError(
            "stream", "results come whole, one record for each request; leave it out"
        )
    if body.get("kv_transfer_params") is not None and not takes_kv_transfer:
        # Token ids in it would be generated from in the place of the messages.
        raise BodyNotTakenError(
            "kv_transfer_params", "this route's engine takes none; leave it out"
        )
    for field in ("messages", "tools"):
        _check_entries(field, body.get(field))
    for number, message in enumerate(_objects(body.get("messages"))):
        field = f"messages.{number}.content"
        content = message.get("content")
        if isinstance(content, list):
            _check_parts(field, content, takes_media_urls=takes_media_urls)


def _check_entries(field: str, entries: object) -> None:
    if not isinstance(entries, list):
        return
    if len(entries) > MOST_ENTRIES:
        raise BodyNotTakenError(
            field, f"{len(entries)} are over the limit of {MOST_ENTRIES}; send fewer"
        )
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BodyNotTakenError(field, f"[{number}] must be an object")


def _check_parts(field: str, parts: list[object], *, takes_media_urls: bool) -> None:
    if len(parts) > MOST_ENTRIES:
        raise BodyNotTakenError(
            field, f"{len(parts)} parts are over the limit of {MOST_ENTRIES}; send fewer"
        )
    for number, part in enumerate(parts):
        if isinstance(part, str):
            continue
        if not isinstance(part, dict):
            raise BodyNotTakenError(field, f"[{number}] must be an object or a string")
        if not takes_media_urls and any(_is_remote(part.get(name)) for name in _MEDIA_FIELDS):
            raise BodyNotTakenError(
                field,
                f"[{number}] names a URL, and this route fetches none; send the media as a data: "
                "URL, or set engine_args.allowed_media_domains",
            )


def _is_remote(media: object) -> bool:
    url = media.get("url") if isinstance(media, dict) else media
    return url is not None and not (isinstance(url, str) and url.startswith("data:"))


def _objects(entries: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict))
