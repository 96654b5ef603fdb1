"""A replica on Ray finds its tracing in its environment, and sends its spans before it ends."""

from typing import Any

import orjson
import pytest
from ray import serve

from handoff.chunk import STATUS_OK, Chunk
from handoff.tracing.spans import SpanContext
from headrace.service.app import bound
from headrace.service.applications import model_application_name
from schemas.settings.live import plain
from schemas.settings.models import CustomModelSettings
from schemas.settings.tracing import TracingSettings
from tests.tracing import running_collector

pytestmark = pytest.mark.serve

CALLER = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)


def test_a_replica_continues_the_callers_trace(local_serve: None) -> None:
    settings = CustomModelSettings(
        kind="custom",
        import_path="tests.sickening_model:SickeningModel",
        urls=("/v1/mine",),
        num_cpus=0.1,
    )
    line = orjson.dumps({"custom_id": "c", "url": "/v1/mine", "body": {}})
    chunk = Chunk("driver", [line, line], traces={1: CALLER})
    with running_collector() as collector:
        tracing = TracingSettings(enabled=True, endpoint=collector.endpoint)
        built = {"model": "mine", "settings": plain(settings), "tracing": plain(tracing)}
        name = model_application_name("mine")
        application = bound(name, built, None, {"name": "model-mine"})
        handle: Any = serve.run(application, name="traced", route_prefix=None)
        outcomes = list(handle.options(stream=True, method_name="infer").remote(chunk))
        serve.delete("traced")
        collector.wait_for({"infer mine": 1})

    assert [status for each in outcomes for status in each.statuses] == [STATUS_OK, STATUS_OK]
    ((service, span),) = collector.spans
    assert service == "headrace-model-mine"
    assert int.from_bytes(span.trace_id, "big") == CALLER.trace_id
    assert int.from_bytes(span.parent_span_id, "big") == CALLER.span_id
