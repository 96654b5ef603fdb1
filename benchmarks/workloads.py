"""The records that benchmarks publish: the same in every run, on every machine. Pure."""

import random
from collections.abc import Iterator, Mapping, Sequence

import orjson

NOOP_URL = "/v1/noop"
NOOP_RECORD_BYTES = 494
LONG_SLEEP_MS = 2000
CHAT_URL = "/v1/chat/completions"
CHAT_FILLING = "Answer in one short sentence, please. " * 6

_COMMON_WORDS = (
    "a about after again all also an and any are as at back be because been before but by "
    "came can come could day did do down each even few find first for found from get give go "
    "good great had has have he help her here him his home house how if in into is it its "
    "just know large last learn left letter life light like little long look made make man "
    "many may me men more most mother much must my name near never new next night no not now "
    "number of off often old on one only or other our out over own page paper part people "
    "place plant point river run said same saw say school sea second see sentence set she "
    "should show small so some something sound state still story study such take tell than "
    "that the their them then there these they thing think this those thought three through "
    "time to together too tree turn two under until up use very walk want was watch water way "
    "we well went were what when where which while white who why will with without word work "
    "world would write year you young your"
)
_WORDS = _COMMON_WORDS.split()


def request_line(custom_id: str, url: str, body: Mapping[str, object]) -> bytes:
    """Return one request record's value."""
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def noop_lines(records: int, size_bytes: int = NOOP_RECORD_BYTES) -> Iterator[bytes]:
    """Yield request lines of exactly ``size_bytes`` each.

    Raises:
        ValueError: ``size_bytes`` is too few for a request line.
    """
    filling = size_bytes - len(request_line(f"{0:08}", NOOP_URL, {"text": ""}))
    if filling < 0:
        raise ValueError(f"size_bytes: a request line has at least {size_bytes - filling} bytes")
    text = "x" * filling
    for number in range(records):
        yield request_line(f"{number:08}", NOOP_URL, {"text": text})


def chat_messages(number: int) -> list[dict[str, str]]:
    """Return the messages of a short chat."""
    return [{"role": "user", "content": f"What is the square of {number}? {CHAT_FILLING}"}]


def chat_lines(records: int) -> Iterator[bytes]:
    """Yield a chat request line for each number."""
    for number in range(records):
        body: dict[str, object] = {"model": "noop", "messages": chat_messages(number)}
        yield request_line(f"{number:08}", CHAT_URL, body)


def request_headers(deadline_ms: int) -> list[tuple[str, bytes]]:
    """Return 1,000 bytes of headers, as applications send them, and a deadline in epoch ms."""
    return [
        ("headrace-deadline", b"%d" % deadline_ms),
        ("headrace-tenant", b"a-tenant"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("context", b"x" * 900),
    ]


def uneven_sleep_ms(number: int) -> int:
    """Return how long record ``number`` takes: some 20 ms, one in a hundred 2 s.

    Each number has its own generator, so any language can draw the same list.
    """
    rng = random.Random(number)
    return LONG_SLEEP_MS if rng.random() < 0.01 else round(20 * rng.lognormvariate(0, 0.5))


def sleep_lines(sleeps_ms: Sequence[int]) -> Iterator[bytes]:
    """Yield a request line for each sleep."""
    for number, sleep_ms in enumerate(sleeps_ms):
        yield request_line(f"{number:08}", NOOP_URL, {"ms": sleep_ms})


def lognormal_texts(texts: int, seed: int = 7) -> list[str]:
    """Return texts of 3 to 250 words whose lengths are lognormal with a median of 36 words."""
    rng = random.Random(seed)
    made = []
    for _ in range(texts):
        words = min(250, max(3, int(rng.lognormvariate(3.6, 0.9))))
        made.append(" ".join(rng.choice(_WORDS) for _ in range(words)))
    return made


def embedding_lines(texts: Sequence[str]) -> Iterator[bytes]:
    """Yield an embeddings request line for each text."""
    for number, text in enumerate(texts):
        yield request_line(f"{number:08}", "/v1/embeddings", {"input": text})


def grouped_embedding_lines(texts: Sequence[str], texts_per_request: int) -> Iterator[bytes]:
    """Yield request lines of so many texts each, for vectors in base64."""
    for start in range(0, len(texts), texts_per_request):
        some = list(texts[start : start + texts_per_request])
        body: dict[str, object] = {
            "input": some[0] if texts_per_request == 1 else some,
            "encoding_format": "base64",
        }
        yield request_line(f"{start:08}", "/v1/embeddings", body)


def first_come_first_served_s(sleeps_ms: Sequence[int], slots: int) -> float:
    """Return first to last end, in seconds, if ``slots`` at a time ran in order at no cost.

    The last long sleep to start decides it, so it is above the sum over the slots.
    """
    free_at_ms = [0] * slots
    ends_ms = []
    for sleep_ms in sleeps_ms:
        slot = min(range(slots), key=free_at_ms.__getitem__)
        free_at_ms[slot] += sleep_ms
        ends_ms.append(free_at_ms[slot])
    return (max(ends_ms) - min(ends_ms)) / 1000
