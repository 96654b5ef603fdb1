"""From where the media of a request may come. Pure.

By default a request brings its media with it, as ``data:`` URLs: a URL that a replica fetched, or a
file that it read, would let a producer reach what only the replica can.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

_URL_FIELDS = ("image_url", "audio_url", "video_url")
_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """What the settings allow.

    Attributes:
        domains: Whether they name domains to fetch from; vLLM compares a URL with them.
        files: Whether they name a directory to read from; the same.
    """

    domains: bool = False
    files: bool = False

    @classmethod
    def of(cls, engine_args: Mapping[str, JsonValue]) -> "MediaPolicy":
        return cls(
            domains=bool(engine_args.get("allowed_media_domains")),
            files=bool(engine_args.get("allowed_local_media_path")),
        )

    def problem(self, part: Mapping[str, Any]) -> str | None:
        """Return why a content part is refused, or ``None``."""
        urls = [_url(part[field]) for field in _URL_FIELDS if part.get(field) is not None]
        if urls and part.get("uuid") is not None:
            return (
                "has a uuid, by which the replica would give its media to other requests; leave it "
                "out, equal media are recognised by their content"
            )
        for url in urls:
            if (problem := self._problem_of_url(url)) is not None:
                return problem
        return None

    def _problem_of_url(self, url: object) -> str | None:
        if not isinstance(url, str):
            return "has a URL that is no string"
        if url.startswith("data:"):
            return None
        if url.startswith("file:"):
            return None if self.files else "names a local file, and none are read; send a data: URL"
        if not self.domains:
            return (
                "names a URL, and this route fetches none; send the media as a data: URL, or set "
                "engine_args.allowed_media_domains"
            )
        if not url.startswith(_SCHEMES):
            return "must have a data:, http: or https: URL"
        return None


def images_of(messages: object) -> Iterator[tuple[str, str]]:
    """Yield where each picture of the messages is, and its ``data:`` URL."""
    if not isinstance(messages, list):
        return
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            continue
        for part in content:
            url = _url(part.get("image_url")) if isinstance(part, dict) else None
            if isinstance(url, str) and url.startswith("data:"):
                yield f"messages.{number}.content", url


def _url(media: object) -> object:
    return media.get("url") if isinstance(media, dict) else media
