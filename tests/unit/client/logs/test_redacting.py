"""Secrets, line breaks and control characters do not get into a log."""

import json
from time import thread_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.logs.learned import LearnedSecrets
from headrace_client.logs.redacting import ASTERISKS, Redactor, one_line, secrets_of_environment


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("cannot reach https://anna:pa%40ss@host/path", "pa%40ss"),
        ("s3://key:topsecret@bucket/x", "topsecret"),
        ("GET /o?X-Amz-Signature=0a1b2c3d&x=1", "0a1b2c3d"),
        ("https://x/y?sv=1&sig=abcDEF123", "abcDEF123"),
        ("Authorization: Bearer eyJhbGciOi.J9.abc", "eyJhbGciOi"),
        ("{'sasl.password': 'hunter2 x'}", "hunter2"),
        ('password="a b c"', "a b c"),
        ("password=plain;", "plain"),
        ("?a?access_token_of_mine=abc123", "abc123"),
        ("token hf_abcdefghijklmnopqrstu is invalid", "hf_abcdefghijklmnopqrstu"),
        ("key sk-proj-abcdefghijklmnop1234", "sk-proj-abcdefghijklmnop1234"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
    ],
)
def test_what_looks_like_a_secret_becomes_asterisks(text: str, secret: str) -> None:
    found = Redactor()(text)

    assert secret not in found
    assert ASTERISKS in found


@pytest.mark.parametrize(
    "text",
    [
        "12 tokens of 34 were read from texts.requests/3",
        "https://example.com:8080/a/b?page=2",
        "kafka-1:9093 does not answer",
        "embeddings@host is a topic",
        "budget_tokens 4096, secrets none",
    ],
)
def test_ordinary_lines_stay(text: str) -> None:
    assert Redactor(["hunter2"])(text) == text


@given(st.text(min_size=4, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_a_known_secret_is_found_in_every_spelling(secret: str, before: str, after: str) -> None:
    redact = Redactor([secret])
    for spelling in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
        found = redact(f"{before}\0{spelling}\0{after}")
        without = found.replace(ASTERISKS, "")
        assert secret not in without or secret in f"{before}\0\0{after}"


def test_a_secret_that_begins_another_hides_neither() -> None:
    assert Redactor(["pass", "password-1"])("password-1 pass") == f"{ASTERISKS} {ASTERISKS}"


def test_the_environment_is_asked_by_its_names() -> None:
    secrets = secrets_of_environment(
        {
            "HF_TOKEN": "hf",
            "AWS_SECRET_ACCESS_KEY": "aws",
            "HEADRACE_KAFKA__SASL__PASSWORD": "kafka",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
            "TOKENIZERS_PARALLELISM": "false",
            "PATH": "/bin",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20abc, x-key=k",
        }
    )

    assert sorted(secrets) == ["Bearer abc", "Bearer%20abc", "abc", "aws", "hf", "k", "kafka"]


def test_learned_secrets_are_the_last_ones() -> None:
    learned = LearnedSecrets(most=2)
    redact = Redactor(learned=learned)
    learned.learn(["one!", "two!"])
    learned.learn(["one!", "no"])
    learned.learn(["three!"])

    assert redact("one! two! three! no") == f"{ASTERISKS} two! {ASTERISKS} no"


@given(st.text(max_size=300))
def test_a_text_is_one_printable_line_and_bounded(text: str) -> None:
    line = one_line(text, 100)

    assert len(line) <= 3 * 100
    assert line.isprintable()


def test_a_forged_line_is_visible() -> None:
    assert one_line("a\r\nERROR all is lost\x1b[2J") == "a | ERROR all is lost·[2J"


PIECES = (
    "?key",
    "&token",
    "?",
    "a=",
    "key=",
    "password=",
    'password="',
    "password'",
    "secret: ",
    "bearer ",
    "://",
    "@",
    "sk-",
    "hf_",
    "AKIA",
    " ",
    "'",
)


@pytest.mark.parametrize("first", PIECES)
def test_no_text_takes_a_time_that_explodes(first: str) -> None:
    redact = Redactor(["hunter2"])

    def least_time_s(text: str) -> float:
        times_s = []
        for _ in range(3):
            began_s = thread_time()
            redact(text)
            times_s.append(thread_time() - began_s)
        return min(times_s)

    # What is linear takes a few times what an ordinary text of this length does; what is cubic,
    # thousands.
    ordinary_s = least_time_s("a topic, a partition and an offset; " * 60)
    for second in PIECES:
        assert least_time_s((f"{first}{second}" * 700)[:2_000]) < 100 * max(ordinary_s, 5e-6)
