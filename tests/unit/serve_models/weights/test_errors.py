import pytest

from serve_models.weights.fetching.request import describe_error


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no route to host", "OSError: no route to host"),
        ("", "OSError"),
        ("two\n lines", "OSError: two lines"),
        (
            "403 for url 'https://cdn.example.com/blob?X-Amz-Signature=abc&Expires=1' (denied)",
            "OSError: 403 for url 'https://cdn.example.com/blob?…' (denied)",
        ),
        ("is it there? a=b", "OSError: is it there? a=b"),
    ],
)
def test_an_error_is_shown_on_one_line_and_without_signatures(message: str, shown: str) -> None:
    assert describe_error(OSError(message)) == shown


def test_an_error_is_not_shown_at_any_length() -> None:
    assert len(describe_error(OSError("x" * 10_000))) < 400
