"""Images of requests: what is read, what is refused, and that nothing is ever fetched."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from schemas.settings.models import EmbedderSettings
from serve_models.text.kinds import KINDS
from serve_models.text.models.images import (
    ImageLimits,
    ImageRefusedError,
    decode_image,
    image_content,
    read_image,
)
from tests.unit.serve_models.fakes import FakeModel, line, settings
from tests.unit.serve_models.text_engines import answers_of, running

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=64 * 64)
SIDE = 16


def picture(side: int = SIDE, seed: int = 1) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_images_of_data_urls_are_read(kind: str) -> None:
    content = encoded(picture(), kind)
    url = data_url(content, kind)
    assert read_image(url, LIMITS) == image_content(url) == content
    assert decode_image(content).size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://169.254.169.254/image.png", "not fetched"),
        ("https://example.org/image.png", "not fetched"),
        ("file:///etc/hostname", "not fetched"),
        ("/etc/hostname.png", "not fetched"),
        ("data:image/svg+xml;base64,AAAA", "not fetched"),
        ("data:image/png,raw", "not fetched"),
        ("", "not fetched"),
        ("data:image/png;base64,%%%", "no valid base64"),
        ("data:image/png;base64,é===", "no valid base64"),
        ("data:image/png;base64,AAAA", "no PNG, JPEG or WebP"),
        # A format that Pillow knows, and that is not asked for.
        (data_url(encoded(picture(), "gif")), "no PNG, JPEG or WebP"),
        (data_url(encoded(picture(65))), "65 x 65 pixels, over 4,096"),
        (data_url(b"x" * 100_001), "more than 100,000 bytes"),
        (data_url(b"x" * 100_100), "more than 100,000 bytes"),
        (data_url(encoded(picture(60), "jpeg")[:-400], "jpeg"), "cannot be decoded"),
        (data_url(encoded(picture())[:60]), "cannot be decoded"),
    ],
)
def test_everything_else_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ImageRefusedError, match=reason):
        read_image(url, LIMITS)


@settings_of_hypothesis(max_examples=40)
@given(content=st.binary(max_size=200), cut=st.integers(0, 400))
def test_no_bytes_raise_anything_else(content: bytes, cut: int) -> None:
    for each in (content, encoded(picture())[:cut] + content):
        try:
            read_image(data_url(each), LIMITS)
        except ImageRefusedError:
            continue


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("clip")
    characters = [chr(code) for code in range(97, 123)]
    tokens = [*characters, *(f"{each}</w>" for each in characters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({each: n for n, each in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32
    )
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(tokens),
            "max_position_embeddings": 32,
            "bos_token_id": len(tokens) - 2,
            "eos_token_id": len(tokens) - 1,
            "pad_token_id": len(tokens) - 1,
        },
        vision_config={**tower, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder / "clip")
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    CLIPProcessor(image_processor, tokenizer).save_pretrained(folder / "clip")  # type: ignore[no-untyped-call] # Transformers' own
    model = SentenceTransformer(modules=[Transformer(str(folder / "clip"))], device="cpu")
    model.save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def clip(clip_path: Path) -> Any:
    return KINDS[EmbedderSettings].load(clip_path, settings(device="cpu"), "cpu")


async def test_texts_and_images_of_one_request_have_the_librarys_vectors(
    clip: Any, clip_path: Path
) -> None:
    library = SentenceTransformer(str(clip_path), device="cpu")
    images = [picture(seed=seed) for seed in range(3)]
    inputs: list[Any] = [
        "a cat",
        {"image": data_url(encoded(images[0]))},
        {"text": "a dog"},
        {"image": data_url(encoded(images[1]))},
    ]
    alone = {"image": data_url(encoded(images[2]))}
    async with running("embedder", clip) as engine:
        answers = await answers_of(
            engine, [line(inputs, normalize=False), line([alone], normalize=False)]
        )
    assert [status for status, _ in answers] == [200, 200], answers
    vectors = [np.array(item["embedding"]) for item in answers[0][1]["data"]]
    vectors += [np.array(item["embedding"]) for item in answers[1][1]["data"]]
    expected = [
        *library.encode(["a cat"]),
        *library.encode([images[0]]),
        *library.encode(["a dog"]),
        *library.encode(images[1:]),
    ]
    for vector, reference in zip(vectors, expected, strict=True):
        np.testing.assert_allclose(vector, reference, atol=1e-4)
    # Of 16 x 16 pixels in patches of 8.
    assert answers[1][1]["usage"]["prompt_tokens"] == 4


async def test_a_bad_image_is_refused_by_its_position(clip: Any) -> None:
    good = {"image": data_url(encoded(picture()))}
    lines = [
        line(["a", {"image": "https://example.org/cat.png"}]),
        line([good, {"image": data_url(encoded(picture(80)))}]),
        line([{"image": 7}]),
        line([{"image": "x", "text": "y"}]),
        line([good]),
    ]
    async with running("embedder", clip, max_image_pixels=64 * 64) as engine:
        answers = await answers_of(engine, lines)
    assert [status for status, _ in answers] == [400, 400, 400, 400, 200]
    messages = [body["error"]["message"] for _, body in answers[:4]]
    assert messages[0].startswith("input: [1] must be data:image/png")
    assert messages[1].startswith("input: [1] has 80 x 80 pixels")
    assert messages[2].startswith("input: [0]")
    assert messages[3].startswith("input: [0]")


async def test_a_model_of_texts_refuses_images_and_takes_text_parts() -> None:
    lines = [
        line([{"image": data_url(encoded(picture()))}]),
        line([{"text": "as a part"}, "as it is"]),
    ]
    async with running("embedder", FakeModel()) as engine:
        answers = await answers_of(engine, lines)
    assert [status for status, _ in answers] == [400, 200]
    assert answers[0][1]["error"]["message"].startswith("input: [0] is an image, and this model")
    assert len(answers[1][1]["data"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9/cat.png",
        "https://www.youtube.com/watch",
        "data:image/png;base64,AAAA",
    ],
)
def test_a_text_that_looks_like_an_image_stays_a_text(
    clip: Any, clip_path: Path, text: str, tmp_path: Path
) -> None:
    """The library itself would fetch the URL, and open the file."""
    file = tmp_path / "cat.png"
    file.write_bytes(encoded(picture()))
    library = SentenceTransformer(str(clip_path), device="cpu")
    for each in (text, str(file)):
        vector = clip.run(clip.tokenize([each], [None]))[0]
        np.testing.assert_allclose(vector, library.encode([{"text": each}])[0], atol=1e-5)
