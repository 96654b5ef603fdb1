"""OUT as columns: the carried ones, and the answer's at the end."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.errors import OutputError
from headrace_client.bulk.output.layout import Layout, VectorAnswers


class OutColumns:
    """The schema of OUT, and record batches of it."""

    def __init__(self, layout: Layout) -> None:
        self._answers = layout.answers
        self._carried = pa.schema([_plain(field) for field in layout.carried])

    def schema(self, dimensions: int | None) -> pa.Schema:
        """``dimensions`` are those of vectors; ``None`` where answers are bodies."""
        if not isinstance(self._answers, VectorAnswers):
            return self._carried.append(pa.field(self._answers.column, pa.string()))
        kind = pa.from_numpy_dtype(self._answers.dtype.numpy)
        vector = pa.list_(pa.field("element", kind), dimensions or 0)
        return self._carried.append(pa.field(self._answers.column, vector))

    def batch(self, rows: AnsweredRows, dimensions: int | None) -> pa.RecordBatch:
        """Those of the rows that have an answer."""
        schema = self.schema(dimensions)
        if not len(rows.kept):
            return pa.RecordBatch.from_pylist([], schema)
        columns = self._conform(rows.kept_columns())
        answers = (
            _vectors(rows.kept_vectors(), schema.field(-1).type)
            if isinstance(self._answers, VectorAnswers)
            else pa.array(rows.kept_bodies(), pa.string())
        )
        return pa.RecordBatch.from_arrays([*columns, answers], schema=schema)

    def _conform(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """The carried columns in the types of OUT."""
        arrays = []
        for field in self._carried:
            place = batch.schema.get_field_index(field.name)
            if place < 0:
                raise OutputError(
                    f"rows without the column {field.name!r} came after rows with it: all input "
                    "files need the same columns, or leave it out of those carried along"
                )
            column = batch.column(place)
            if column.type != field.type:
                try:
                    column = column.cast(field.type)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                    raise OutputError(
                        f"column {field.name!r} is {column.type} in some rows and {field.type} in "
                        f"others: {error}. All input files need the same types, or leave it out "
                        "of those carried along"
                    ) from None
            arrays.append(column)
        return arrays


def _plain(field: pa.Field) -> pa.Field:
    """Dictionaries differ from file to file, so their values are written."""
    if pa.types.is_dictionary(field.type):
        field = field.with_type(field.type.value_type)
    return field.remove_metadata()


def _vectors(vectors: NDArray[Any], kind: pa.FixedSizeListType) -> pa.FixedSizeListArray:
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, type=kind)
