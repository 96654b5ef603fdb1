"""Pictures are measured by their headers before anything decodes them."""

import base64
import io

import pytest
from PIL import Image

from serve_models.generation.checks import RequestRefusedError
from tests.vllm_marks import IMPORTS_VLLM

pytestmark = IMPORTS_VLLM


def picture(width: int, height: int, kind: str = "PNG") -> str:
    """Return a picture of one colour, which takes a few bytes however large it is."""
    file = io.BytesIO()
    Image.new("L" if kind == "PNG" else "RGB", (width, height)).save(file, kind)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{data}"


def check(*urls: str, most_pixels: int = 10_000) -> None:
    # vLLM takes seconds to import, and other tests need none.
    from serve_models.generation.media.pixels import check_pixels  # noqa: PLC0415 -- see above

    check_pixels([("messages.0.content", url) for url in urls], most_pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_within_the_limit_is_taken(kind: str) -> None:
    check(picture(100, 100, kind))


def test_the_pixels_of_all_pictures_of_a_request_count() -> None:
    check(*[picture(50, 50)] * 4)
    with pytest.raises(
        RequestRefusedError, match=r"12500 pixels.*10000.*max_image_pixels"
    ) as caught:
        check(*[picture(50, 50)] * 5)
    assert caught.value.param == "messages.0.content"


def test_a_small_file_of_a_large_picture_is_refused() -> None:
    bomb = picture(6000, 6000)
    assert len(bomb) < 100_000
    with pytest.raises(RequestRefusedError, match="36000000 pixels"):
        check(bomb, most_pixels=33_554_432)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:image/png;base64", "must be data:image"),
        ("data:image/png,AAAA", "must be data:image"),
        ("data:image/png;base64,A", "not valid base64"),
        ("data:image/png;base64,é", "cannot be read"),
        ("data:image/png;base64,AAAA", "cannot be read"),
        # It would be given to Ghostscript.
        (
            "data:image/eps;base64,JSFQUy1BZG9iZS0zLjAgRVBTRi0zLjAK",
            "read",
        ),
    ],
)
def test_what_is_no_picture_is_refused(url: str, said: str) -> None:
    with pytest.raises(RequestRefusedError, match=said):
        check(url)
