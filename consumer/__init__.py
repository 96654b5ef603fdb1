"""From Kafka to models and back: the engine that decides, the loop and the adapters that act."""

from handoff.own_packages import check_own_packages

# First in a replica, whose PYTHONPATH may be another than that of `headrace up`.
check_own_packages()
