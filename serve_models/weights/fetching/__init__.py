"""Fetches models into the cache: from a hub, a package index, an object store, a registry."""
