"""An overview as a service in trouble would give it, for tests of what shows one."""

from dataclasses import replace

from headrace.overview.snapshot import (
    Consumer,
    DeploymentOverview,
    Held,
    JobOverview,
    Lag,
    Latencies,
    Latency,
    ModelOverview,
    Overview,
    Rates,
    Reason,
    ReasonCode,
    Replicas,
    RouteOverview,
    RouteState,
    Totals,
)

AT_MS = 1_793_000_000_000


def a_route(name: str = "embed", model: str = "minilm", **changes: object) -> RouteOverview:
    """A route that does well."""
    route = RouteOverview(
        name=name,
        requests_topic=f"{name}.requests",
        results_topic=f"{name}.results",
        dead_letters_topic=f"{name}.dead-letters",
        group=f"headrace-{name}",
        model=model,
        state=RouteState.RUNNING,
        lag=Lag(
            committed_records=48_213,
            left_records=41_870,
            left_s=12.7,
            left_tokens=2_009_760,
            partitions=12,
            largest_partition=7,
            largest_partition_records=6_120,
        ),
        latest=Rates(
            window_s=10.0,
            received_records_per_s=3_412.5,
            completed_records_per_s=3_297.1,
            failed_records_per_s=0.4,
        ),
        minute=Rates(
            window_s=60.0,
            received_records_per_s=3_188.0,
            completed_records_per_s=3_176.3,
            failed_records_per_s=0.2,
        ),
        latency=Latencies(
            waiting=Latency(records=190_578, p50_s=0.081, p95_s=0.214, p99_s=0.241),
            model=Latency(records=190_578, p50_s=0.034, p95_s=0.088, p99_s=0.097),
            end_to_end=Latency(records=190_578, p50_s=12.4, p95_s=21.8, p99_s=27.6),
        ),
        held=Held(
            in_flight_records=512,
            queued_records=3_904,
            records=4_630,
            most_records=32_768,
            bytes=4_812_331,
            most_bytes=134_217_728,
            oldest_s=0.3,
        ),
        totals=Totals(
            received_records=9_127_403,
            completed_records=9_122_773,
            dead_letter_records=41,
            expired_records=12,
            refused_records=307,
            retried_records=96,
            skipped_records=3,
            dead_letters_by_reason={"invalid_json": 38, "retries_exhausted": 3},
        ),
        assigned_partitions=12,
        consumers=Replicas(running=2, target=2),
        members=[
            Consumer(
                replica=f"{name}-{each}",
                state="reading",
                partitions=6,
                in_flight_records=256,
                queued_records=1_952,
                held_records=2_315,
                held_bytes=2_406_165,
            )
            for each in ("a1b2c3", "d4e5f6")
        ],
    )
    return replace(route, **changes)  # type: ignore[arg-type] # fields by name


def a_standing_route(name: str = "summarise", model: str = "qwen") -> RouteOverview:
    nothing = Rates(
        window_s=10.0,
        received_records_per_s=0.0,
        completed_records_per_s=0.0,
        failed_records_per_s=0.0,
    )
    return a_route(
        name,
        model,
        state=RouteState.STANDING_STILL,
        reasons=[
            Reason(
                code=ReasonCode.NO_MODEL_REPLICA,
                text=f"model {model} has no replica: 0 of 2 run: CUDA out of memory. Tried to "
                "allocate 2.00 GiB (Serve tries no more: put it right, and run `headrace up` "
                "again)",
            ),
            Reason(
                code=ReasonCode.BREAKER_OPEN,
                text="the model is down: 31 calls failed in a row, next try in 4 s; see `serve "
                "status` and the log of its replicas",
            ),
        ],
        lag=Lag(
            committed_records=1_204,
            left_records=1_187,
            partitions=4,
            largest_partition=1,
            largest_partition_records=402,
        ),
        latest=nothing,
        minute=replace(nothing, window_s=60.0, received_records_per_s=4.2),
        latency=Latencies(),
        held=Held(
            queued_records=250,
            records=250,
            most_records=16_384,
            bytes=812_004,
            most_bytes=67_108_864,
            oldest_s=184.0,
        ),
        breaker_open_consumers=1,
        assigned_partitions=4,
        consumers=Replicas(running=1, target=1),
        scaling="1 -> 1 replicas (1 run); 1187 records remain, the oldest for 184 s; 4.2 records/s "
        "arrive; a replica's rate is not known yet; one starts in 6 s; 0 calls are ongoing; "
        "wanted 1.00",
        members=[
            Consumer(
                replica=f"{name}-0a1b2c",
                state="reading",
                partitions=4,
                queued_records=250,
                held_records=250,
                held_bytes=812_004,
                is_breaker_open=True,
            )
        ],
    )


def an_overview(more_routes: int = 0) -> Overview:
    """Two routes that do well, one that is paused, one that stands still, and ``more_routes``."""
    paused = a_route(
        "classify",
        "guard",
        state=RouteState.PAUSED,
        reasons=[Reason(code=ReasonCode.PAUSED, text="paused by ana@ops-1 until it is resumed")],
    )
    return Overview(
        at_ms=AT_MS,
        routes=[
            a_route(),
            paused,
            a_standing_route(),
            a_route("rerank", "minilm"),
            *(a_route(f"route-{number:02}", "minilm") for number in range(more_routes)),
        ],
        models=[
            ModelOverview(
                name="minilm",
                kind="embedder",
                source="hf:sentence-transformers/all-MiniLM-L6-v2",
                routes=["embed", "rerank"],
                replicas=Replicas(running=3, target=4),
                why_not="3 of 4 replicas run: they are starting (`serve status` tells all)",
                scaling="3 -> 4 replicas (3 run); 41870 records remain (12.7 s, 2009760 tokens), "
                "the oldest for 12 s; 3188.0 records/s arrive; a replica does 1099.0/s; one "
                "starts in 21 s; 14 calls are ongoing; wanted 3.62",
                runs_on=["cuda:0", "bfloat16", "without padding"],
                in_flight_records=1_024,
                window_records=4_096,
                completed_records_per_s=6_594.2,
                latency=Latency(records=381_156, p50_s=0.034, p95_s=0.088, p99_s=0.097),
            ),
            ModelOverview(
                name="guard",
                kind="classifier",
                source="path:/models/guard",
                routes=["classify"],
                replicas=Replicas(running=1, target=1),
                runs_on=["cpu", "OpenVINO int8"],
                window_records=512,
            ),
            ModelOverview(
                name="qwen",
                kind="generator",
                source="hf:Qwen/Qwen2.5-7B-Instruct",
                routes=["summarise"],
                replicas=Replicas(running=0, target=2),
                why_not="0 of 2 replicas run: CUDA out of memory. Tried to allocate 2.00 GiB "
                "(Serve tries no more: put it right, and run `headrace up` again)",
            ),
        ],
        deployments=[
            DeploymentOverview(
                name="model-qwen",
                why="0 of 2 replicas run: CUDA out of memory. Tried to allocate 2.00 GiB (Serve "
                "tries no more: put it right, and run `headrace up` again)",
            ),
            DeploymentOverview(
                name="model-minilm",
                why="3 of 4 replicas run: they are starting (`serve status` tells all)",
            ),
        ],
        jobs=[
            JobOverview(
                name="nightly-embeddings",
                kind="bulk embed",
                state="running",
                route="embed",
                description="s3://lake/docs/*.parquet -> s3://lake/vectors",
                user="etl@batch-3",
                total=12_000_000,
                done=7_431_220,
                failed=18,
                rate_per_s=3_160.0,
                tokens_per_s=151_680.0,
                eta_s=1_445.8,
                started_at_ms=AT_MS - 2_351_000,
            ),
            JobOverview(
                name="tickets-2026-11",
                kind="bulk chat",
                state="running",
                route="summarise",
                description="tickets.jsonl -> summaries.jsonl",
                user="ana@ops-1",
                unit="requests",
                total=4_000,
                done=2_813,
                rate_per_s=0.0,
                started_at_ms=AT_MS - 5_400_000,
                deadline_ms=AT_MS + 3_600_000,
                waits_for=["the model is down: no answer for 184 s"],
            ),
            JobOverview(
                name="reindex",
                kind="bulk embed",
                state="done",
                route="embed",
                user="etl@batch-3",
                total=50_000,
                done=50_000,
                started_at_ms=AT_MS - 9_000_000,
                is_finished=True,
            ),
        ],
        unanswered=[],
    )
