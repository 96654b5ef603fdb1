"""The engine's next call where a test counts on there being one."""

from consumer.core.engine import Engine
from consumer.core.work import Call
from schemas.handoff import Chunk


def next_call(engine: Engine, now_s: float, now_ms: int) -> tuple[Call, Chunk]:
    call_and_chunk = engine.next_call(now_s, now_ms)
    assert call_and_chunk is not None
    return call_and_chunk
