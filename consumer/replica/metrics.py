"""A consumer replica's numbers as Ray metrics, which Ray exports to Prometheus."""

from ray.util.metrics import Counter, Gauge

from consumer.replica.reports import COUNTER_NAMES, ReplicaSnapshot


class ConsumerMetrics:
    def __init__(self, route: str) -> None:
        tags = {"route": route}
        self._counters = {}
        self._last = dict.fromkeys(COUNTER_NAMES, 0)
        for name in COUNTER_NAMES:
            counter = Counter(f"headrace_{name}", f"{name} since the start", ("route",))
            counter.set_default_tags(tags)
            self._counters[name] = counter
        self._in_flight = Gauge("headrace_in_flight_records", "handed to models", ("route",))
        self._queued = Gauge("headrace_queued_records", "read and waiting", ("route",))
        self._partitions = Gauge("headrace_assigned_partitions", "held by a replica", ("route",))
        self._tokens_per_record = Gauge(
            "headrace_tokens_per_record",
            "the mean of finished records, read and generated; none for models without tokens",
            ("route",),
        )
        for gauge in (self._in_flight, self._queued, self._partitions, self._tokens_per_record):
            gauge.set_default_tags(tags)

    def update(self, snapshot: ReplicaSnapshot) -> None:
        for name, counter in self._counters.items():
            value = getattr(snapshot, name)
            if value > self._last[name]:
                counter.inc(value - self._last[name])
                self._last[name] = value
        self._in_flight.set(snapshot.in_flight_records)
        self._queued.set(snapshot.queued_records)
        self._partitions.set(len(snapshot.partitions))
        if snapshot.tokens_per_record is not None:
            self._tokens_per_record.set(snapshot.tokens_per_record)
