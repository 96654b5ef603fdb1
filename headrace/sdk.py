"""What custom models import: chunks, outcomes, refusals, and a base class that batches.

Importing it loads neither Ray nor torch nor vLLM.
"""
# ruff: noqa: E402 -- a package of the user's may hide ours

from handoff.own_packages import check_own_packages

check_own_packages()

from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_LOST,
    STATUS_OK,
    STATUS_UNAVAILABLE,
    STATUS_UNRECOVERABLE,
    Chunk,
    ChunkModel,
    Outcomes,
)
from schemas.bodies.base import BodyRefusedError
from schemas.wire.results import encode_refusal_body
from serve_models.custom.batched_model import BatchedModel

__all__ = [
    "STATUS_EXPIRED",
    "STATUS_FAILED",
    "STATUS_LOST",
    "STATUS_OK",
    "STATUS_UNAVAILABLE",
    "STATUS_UNRECOVERABLE",
    "BatchedModel",
    "BodyRefusedError",
    "Chunk",
    "ChunkModel",
    "Outcomes",
    "encode_refusal_body",
]
