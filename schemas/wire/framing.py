"""What may stand before a record's JSON: a byte order mark, or a schema registry's frame."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FRAME_START = b"\0"
"""No JSON begins so. Four bytes of a schema's id follow, then the JSON."""
FRAME_BYTES = 5

_FIRST_BYTES = frozenset({BYTE_ORDER_MARK[:1], FRAME_START})


def strip_marks(value: bytes, *, takes_frame: bool) -> bytes:
    """Return a record's JSON without a byte order mark or a schema registry's frame."""
    if value[:1] not in _FIRST_BYTES:
        return value
    if takes_frame and value.startswith(FRAME_START):
        value = value[FRAME_BYTES:]
    return value.removeprefix(BYTE_ORDER_MARK)


def describe_frame(value: bytes) -> str:
    """Say for a person what a value is that begins with ``FRAME_START``."""
    if value[FRAME_BYTES:].removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{"):
        return (
            "the value looks like Confluent JSON Schema framing; set requests_format: "
            "confluent-json on the route"
        )
    return (
        "the value begins with a zero byte, like Avro or Protobuf in a schema registry's framing; "
        "publish JSON"
    )
