"""Answers by item, until their rows are written; and to the end where rows share items.

Without ``dedupe`` an item has one row: answers wait in memory (``VectorBuffer``, ``BodyBuffer``)
and are forgotten once written. With it a row may want an answer that was written long ago:
answers go to a file in the state directory (``VectorStore``, ``BodyStore``), are read back from
there, and cost no memory. All four are ``ItemAnswers``.

A batch of rows takes its answers by the items of its rows: ``take(items)``, one item for each
row, negative where the row has no answer (it failed, or its item did). Memory is the batch's.
"""

from headrace_client.bulk.output.stores.answers import ItemAnswers
from headrace_client.bulk.output.stores.body_store import DATA_NAME, PLACES_NAME, BodyStore
from headrace_client.bulk.output.stores.buffers import BodyBuffer, VectorBuffer
from headrace_client.bulk.output.stores.vector_store import FILE_NAME, VectorStore

FILE_NAMES = (FILE_NAME, DATA_NAME, PLACES_NAME)
"""In the state directory."""

__all__ = ["FILE_NAMES", "BodyBuffer", "BodyStore", "ItemAnswers", "VectorBuffer", "VectorStore"]
