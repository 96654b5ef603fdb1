"""From where a request's media may come."""

from typing import Any

import pytest

from serve_models.generation.media.policy import MediaPolicy, images_of

DATA = "data:image/png;base64,AA=="


def part(url: object, kind: str = "image_url", **more: Any) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}, **more}


@pytest.mark.parametrize("kind", ["image_url", "audio_url", "video_url"])
@pytest.mark.parametrize(
    ("policy", "url", "said"),
    [
        (MediaPolicy(), DATA, None),
        (MediaPolicy(), "https://example.org/a.png", "engine_args.allowed_media_domains"),
        (MediaPolicy(), "DATA:image/png;base64,AA==", "engine_args.allowed_media_domains"),
        (MediaPolicy(), "file:///etc/passwd", "local file"),
        (MediaPolicy(), 5, "no string"),
        (MediaPolicy(domains=True), "https://example.org/a.png", None),
        (MediaPolicy(domains=True), "file:///etc/passwd", "local file"),
        (MediaPolicy(domains=True), "ftp://example.org/a.png", "http"),
        (MediaPolicy(domains=True), "/etc/passwd", "http"),
        (MediaPolicy(files=True), "file:///media/a.png", None),
        (MediaPolicy(files=True), "https://example.org/a.png", "allowed_media_domains"),
    ],
)
def test_a_url_is_taken_as_the_settings_say(
    policy: MediaPolicy, url: object, said: str | None, kind: str
) -> None:
    for form in (part(url, kind), {kind: url}):
        problem = policy.problem(form)
        assert (problem is None) == (said is None), problem
        assert said is None or said in str(problem)


def test_a_uuid_is_refused_as_it_would_share_a_picture_with_others() -> None:
    assert "uuid" in str(MediaPolicy().problem(part(DATA, uuid="cat")))
    # Of a text it means nothing.
    assert MediaPolicy().problem({"type": "text", "text": "x", "uuid": "cat"}) is None


def test_the_settings_are_vllms_own() -> None:
    assert MediaPolicy.of({}) == MediaPolicy()
    given = MediaPolicy.of({"allowed_media_domains": ["a.org"], "allowed_local_media_path": "/m"})
    assert given == MediaPolicy(domains=True, files=True)


def test_pictures_are_found_in_whatever_form_they_come() -> None:
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": ["x", part(DATA), {"image_url": DATA}, {"type": "text"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": DATA}]},
        5,
    ]
    assert [field for field, _ in images_of(messages)] == [
        "messages.1.content",
        "messages.1.content",
        "messages.2.content",
    ]
    assert not list(images_of(None))
