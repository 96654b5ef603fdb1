"""A Helm chart of the same manifests. Pure."""
