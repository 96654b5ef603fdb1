"""Images of requests: read from data URLs, never from a network or a file."""

import base64
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

_DATA_URL = re.compile(r"data:image/(png|jpeg|webp);base64,", re.ASCII)
_FORMATS = ("PNG", "JPEG", "WEBP")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError)
"""What Pillow raises for contents of an image's format that are not whole or not right."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may have at most: bytes as it comes, and pixels as it is decoded."""

    max_bytes: int
    max_pixels: int


class ImageRefusedError(ValueError):
    """An image cannot be taken; the message says why and what to send."""


def read_image(url: str, limits: ImageLimits) -> bytes:
    """Return the bytes of an image's data URL, once it can be decoded within the limits.

    Raises ``ImageRefusedError``.
    """
    match = _DATA_URL.match(url)
    if match is None:
        raise ImageRefusedError(
            "must be data:image/png;base64,… (or jpeg, webp): images are not fetched from URLs"
        )
    # Base64 has four characters for three bytes.
    if (len(url) - match.end()) // 4 * 3 > limits.max_bytes + 2:
        raise ImageRefusedError(
            f"has more than {limits.max_bytes:,} bytes (max_image_bytes); send a smaller one"
        )
    try:
        content = base64.b64decode(url[match.end() :], validate=True)
    except ValueError:  # of characters that are no ASCII, too
        raise ImageRefusedError("is no valid base64") from None
    if len(content) > limits.max_bytes:
        raise ImageRefusedError(
            f"has more than {limits.max_bytes:,} bytes (max_image_bytes); send a smaller one"
        )
    decode_image(content, limits)
    return content


def image_content(url: str) -> bytes:
    """Return the bytes of a data URL that ``read_image`` took."""
    return base64.b64decode(url.partition(",")[2])


def decode_image(content: bytes, limits: ImageLimits | None = None) -> Any:
    """Return the image in RGB, as a ``PIL.Image.Image``; its size is checked before its pixels."""
    # With text models Pillow need not be there.
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 -- see above

    try:
        with warnings.catch_warnings():
            # Pillow's own limit warns; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        raise ImageRefusedError("is no PNG, JPEG or WebP image") from None
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise ImageRefusedError(f"cannot be decoded: {error}") from None
    width, height = image.size
    if limits is not None and width * height > limits.max_pixels:
        raise ImageRefusedError(
            f"has {width} x {height} pixels, over {limits.max_pixels:,} (max_image_pixels); send "
            "a smaller one"
        )
    try:
        return image.convert("RGB")
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise ImageRefusedError(f"cannot be decoded: {error}") from None
