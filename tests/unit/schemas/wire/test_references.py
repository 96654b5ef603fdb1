"""Which urls may be followed."""

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.references import (
    MAX_URL_CHARACTERS,
    IllegalUrlError,
    check_prefix,
    check_url,
    prefix_of,
)

TRICKS = st.text(alphabet="ab./%2e5cfF\\~:?#* \n\x00é@", max_size=24)


@given(TRICKS)
def test_a_url_under_a_prefix_stays_there_however_it_is_read(rest: str) -> None:
    url = "file:///srv/in/" + rest
    try:
        checked = check_url(url)
    except IllegalUrlError:
        return
    assert checked == url
    if prefix_of(url, ("file:///srv/in",)) is None:
        return
    for path in (url, unquote(url), unquote(unquote(url))):
        plain = posixpath.normpath(path.removeprefix("file://"))
        assert plain.startswith("/srv/in/")
        assert plain == path.removeprefix("file://")


def test_prefixes_are_whole_parts() -> None:
    prefixes = (check_prefix("s3://bucket/in/"), check_prefix("s3://other"))
    assert prefix_of("s3://bucket/in/a.json", prefixes) == "s3://bucket/in"
    assert prefix_of("s3://bucket/in-2/a.json", prefixes) is None
    assert prefix_of("s3://bucket/in", prefixes) is None
    assert prefix_of("s3://other/a/b", prefixes) == "s3://other"
    assert prefix_of("gs://other/a/b", prefixes) is None


@pytest.mark.parametrize(
    "url",
    [
        "a.json",
        "S3://bucket/a",
        "http://bucket/a",
        "s3://",
        "file://host/a",
        "s3://bucket//a",
        "s3://bucket/../a",
        "s3://bucket/a/",
        "s3://bucket/a%2fb",
        "s3://user:password@bucket/a",
        "file:///a::zip://b",
        "s3://bucket/" + "a" * MAX_URL_CHARACTERS,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(IllegalUrlError):
        check_url(url)
