"""Templates: text in which ``{column}`` stands for the value of a column."""

import re
from collections.abc import Sequence

import pyarrow as pa

from headrace_client.bulk.rows.columns import listed
from headrace_client.bulk.rows.errors import InputError

_SHOWN_CHARACTERS = 80
_TOKENS = re.compile(r"[^{}]+|\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template:
    """Text with columns in it.

    A column's name in braces stands for its value, a doubled brace for a brace. There is nothing
    else: no attributes, indexes or formats.

    Args:
        text: The template.
        schema: The columns that there are.

    Raises:
        InputError: A brace has no partner, or a name is no column; the message lists the columns.
    """

    def __init__(self, text: str, schema: pa.Schema) -> None:
        literals, names = _parsed(text)
        for name in names:
            if name not in schema.names:
                raise InputError(_no_column(name, text, schema))
        self.columns = tuple(dict.fromkeys(names))
        self.is_column = len(names) == 1 and literals == ["", ""]
        """Whether it is a column's value and nothing else."""
        self._places = [self.columns.index(name) for name in names]
        self._format = "%s".join(each.replace("%", "%%") for each in literals)

    def render(self, values: Sequence[str]) -> str:
        """Put in the values of ``columns``, in their order."""
        return self._format % tuple([values[place] for place in self._places])


def _parsed(text: str) -> tuple[list[str], list[str]]:
    """Return the literal parts, and the names between them."""
    literals, names = [""], []
    for token in _TOKENS.finditer(text):
        name = token[1]
        if name is not None:
            names.append(name)
            literals.append("")
        elif token[0] in {"{", "}"}:
            raise InputError(
                f"template {_short(text)!r}: the brace at character {token.start() + 1} has no "
                f"partner; double it ({token[0] * 2}) if it is meant as a brace"
            )
        else:
            literals[-1] += token[0][0] if token[0] in {"{{", "}}"} else token[0]
    return literals, names


def _no_column(name: str, text: str, schema: pa.Schema) -> str:
    message = (
        f"template {_short(text)!r}: there is no column {name!r}; there are {listed(schema.names)}"
    )
    if '"' in name or not any(each in name for each in ".[!:"):
        return f"{message}. Double braces that are meant as braces"
    return f"{message}. A name in braces is a column as it is called, without parts or formats"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
