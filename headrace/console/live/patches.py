"""Differences between two documents, as JSON Merge Patch (RFC 7386) has them. Pure.

Documents hold no ``None``: in a patch it says that a key is gone.
"""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """Return what makes ``new`` of ``old``; empty if they are equal.

    Mappings are compared key by key; anything else that differs is sent whole.
    """
    patch: Document = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            below = merge_patch(before, value)
            if below:
                patch[key] = below
        elif key not in old or not _same(before, value):
            patch[key] = value
    return patch


def _same(one: Any, other: Any) -> bool:
    # To Python 1, 1.0 and True are equal; in JSON they are not.
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def apply_patch(document: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    """Return the document with a patch; ``page/live.js`` does the same."""
    patched = dict(document)
    for key, value in patch.items():
        if value is None:
            patched.pop(key, None)
        elif isinstance(value, Mapping):
            below = patched.get(key)
            patched[key] = apply_patch(below if isinstance(below, Mapping) else {}, value)
        else:
            patched[key] = value
    return patched
