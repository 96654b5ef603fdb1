"""How large pictures become when they are decoded, which a small file does not show.

Import this module after ``engine_process.set_engine_environment``.
"""

import base64
import binascii
import io
from collections.abc import Iterable

from PIL import Image
from vllm.multimodal.image import open_image

from serve_models.generation.checks import RequestRefusedError


def check_pixels(images: Iterable[tuple[str, str]], most_pixels: int) -> None:
    """Raise ``RequestRefusedError`` if a request's pictures have too many pixels together.

    ``images`` are pairs of a field and a ``data:`` URL. Reads their headers only, after decoding
    the base64: a few milliseconds for each megabyte.
    """
    pixels = 0
    for field, url in images:
        pixels += _measure(field, url)
        if pixels > most_pixels:
            raise RequestRefusedError(
                field,
                f"the pictures have {pixels} pixels together, which is over the {most_pixels} of "
                "one request (the model's max_image_pixels); scale them down or send fewer",
            )


def _measure(field: str, url: str) -> int:
    header, comma, data = url.partition(",")
    if not comma or not header.endswith(";base64"):
        raise RequestRefusedError(field, "a data: URL must be data:image/TYPE;base64,DATA")
    try:
        with open_image(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            return int(image.width) * int(image.height)
    except binascii.Error as error:
        raise RequestRefusedError(field, f"a picture is not valid base64: {error}") from error
    except Image.DecompressionBombError as error:
        raise RequestRefusedError(field, f"a picture is too large: {error}") from error
    # A decoder of a broken file may raise anything.
    except Exception as error:
        raise RequestRefusedError(
            field, f"a picture cannot be read ({type(error).__name__})"
        ) from error
