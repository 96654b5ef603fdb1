"""What no policy can do without: a lower bound of replica-seconds on given arrivals. Pure."""

from math import ceil

from benchmarks.autoscaling.simulator import Run, Service


def least_replica_s(service: Service, run: Run) -> float:
    """Return the fewest replica-seconds of a policy that sees a burst when it arrives, not before.

    All work must be done, and a replica is paid for while it starts. The fewest replicas that
    finish a burst by the drain target start at once, and each works to its last second. Replicas
    for the usual arrivals are never idle otherwise, and cost no start. To keep replicas for the
    next burst would cost more than their starts: bursts are further apart than that.

    Args:
        service: What is scaled; its rates and starts are taken at their means.
        run: Any policy's run on the arrivals: what arrived, and which bursts were feasible.
    """
    rate = service.replica_records_per_s
    usual_records = run.records - sum(burst.records for burst in run.bursts)
    usual_replicas = usual_records / rate / (run.hours * 3600)
    spare_s = (ceil(usual_replicas) - usual_replicas) * service.drain_target_s
    helping_s = service.drain_target_s - service.cold_start_s
    starts = 0
    for burst in run.bursts:
        short_s = burst.records / rate - spare_s
        if burst.is_feasible and short_s > 0 and helping_s > 0:
            starts += ceil(short_s / helping_s)
    return run.records / rate + starts * service.cold_start_s
