"""Snapshots travel as plain values, across releases."""

from dataclasses import fields

from consumer.replica.reports import COUNTER_NAMES, ReplicaSnapshot, RouteStatus


def test_a_snapshot_survives_the_way() -> None:
    snapshot = ReplicaSnapshot(route="r", replica="a", received_records=3, partitions=[0, 2])

    assert ReplicaSnapshot.from_dict(snapshot.to_dict()) == snapshot


def test_a_key_of_a_newer_release_is_left_out() -> None:
    values = {"route": "r", "replica": "a", "new_records": 1}

    assert ReplicaSnapshot.from_dict(values) == ReplicaSnapshot(route="r", replica="a")
    assert RouteStatus.from_dict(values) == RouteStatus(route="r")


def test_every_count_is_in_both() -> None:
    for kind in (ReplicaSnapshot, RouteStatus):
        assert set(COUNTER_NAMES) <= {field.name for field in fields(kind)}
