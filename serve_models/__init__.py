"""Models behind Ray Serve: replicas, what they serve chunks with, and weights."""

from handoff.own_packages import check_own_packages

# First in a replica, whose PYTHONPATH may be another than that of `headrace up`.
check_own_packages()
