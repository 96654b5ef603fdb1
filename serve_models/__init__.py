"""Models behind Ray Serve: replicas, what they serve chunks with, and weights."""

from handoff.own_packages import check_own_packages

# First in a replica, whose PYTHONPATH may differ from that of `headrace up`.
check_own_packages()
