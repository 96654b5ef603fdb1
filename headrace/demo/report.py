"""Counts the outcomes of the demo's records, and finds neighbours among its vectors. Pure."""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from headrace.records.reading import TopicRecord
from schemas.wire import headers
from schemas.wire.headers import last_value

SKIPPED = "skipped (tombstone)"


@dataclass(slots=True)
class Tally:
    """Outcomes by the place of their request, TOPIC/PARTITION/OFFSET, so that a record counts once.

    Attributes:
        sent: Places of the records with a value.
        tombstones: Places of the records without one.
        outcomes: The outcome of each place.
        repeats: Outcomes of a place that had one already.
        vectors: Full-size vectors by custom_id, of requests with one text.
        replies: The outcome and the reply of each chat request, by custom_id.
    """

    sent: set[str] = field(default_factory=set)
    tombstones: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    dead_letters: list[TopicRecord] = field(default_factory=list)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    replies: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return self.sent <= self.outcomes.keys()

    def add_result(self, record: TopicRecord) -> None:
        line = orjson.loads(record.value or b"null")
        if line["error"] is not None:
            outcome = f"error: {line['error']['code']}"
        else:
            status = line["response"]["status_code"]
            outcome = "answered (200)" if status == 200 else f"refused ({status})"
            self._keep(line["custom_id"], outcome, line["response"]["body"])
        self._add(record, outcome)

    def add_dead_letter(self, record: TopicRecord) -> None:
        self.dead_letters.append(record)
        self._add(record, f"dead letter: {header(record, headers.ERROR_CODE)}")

    def counts(self, skipped_records: int) -> Counter[str]:
        counts = Counter(self.outcomes.values())
        if skipped_records:
            counts[SKIPPED] = skipped_records
        return counts

    def _add(self, record: TopicRecord, outcome: str) -> None:
        place = header(record, headers.SOURCE)
        if place in self.outcomes:
            self.repeats += 1
        else:
            self.outcomes[place] = outcome

    def _keep(self, custom_id: str, outcome: str, body: dict[str, Any]) -> None:
        if "error" in body:
            code, message = body["error"]["code"], body["error"]["message"]
            self.replies[custom_id] = (f"{outcome}: {code}", message)
        elif "choices" in body:
            self.replies[custom_id] = ("answered", body["choices"][0]["message"]["content"])
        elif "data" in body:
            self._keep_vector(custom_id, body["data"])

    def _keep_vector(self, custom_id: str, data: list[dict[str, object]]) -> None:
        if len(data) == 1:
            vector = data[0]["embedding"]
            self.vectors[custom_id] = (
                np.frombuffer(b64decode(vector), dtype="<f4")
                if isinstance(vector, str)
                else np.asarray(vector, dtype=np.float32)
            )


def header(record: TopicRecord, name: str) -> str:
    return (last_value(record.headers, name) or b"").decode(errors="replace")


def adds_up(tally: Tally, skipped_records: int) -> bool:
    return (
        tally.outcomes.keys() == tally.sent
        and skipped_records == len(tally.tombstones)
        and tally.repeats == 0
    )


def nearest_neighbours(
    vectors: Mapping[str, NDArray[np.float32]], query: str, most: int
) -> list[tuple[str, float]]:
    """Return the names of the nearest vectors by cosine, best first; other sizes are left out."""
    wanted = vectors[query]
    names = [name for name, vector in vectors.items() if vector.shape == wanted.shape]
    matrix = np.stack([vectors[name] for name in names])
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(wanted)
    scores = matrix @ wanted / norms
    order = np.argsort(-scores)
    return [(names[i], float(scores[i])) for i in order if names[i] != query][:most]


def texts_by_id(lines: Iterable[bytes]) -> dict[str, str]:
    texts = {}
    for line in lines:
        try:
            request = orjson.loads(line)
            text = request["body"]["input"]
            texts[request["custom_id"]] = text if isinstance(text, str) else text[0]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return texts


def prompts_by_id(lines: Iterable[bytes]) -> dict[str, str]:
    prompts = {}
    for line in lines:
        request = orjson.loads(line)
        messages = request["body"].get("messages") or [{"content": ""}]
        prompts[request["custom_id"]] = messages[0]["content"]
    return prompts
