import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.templates import Template

SCHEMA = pa.schema([(name, pa.string()) for name in ("title", "body", "Review Text", "a.b", "%s")])
_PARTS = st.one_of(
    st.text().map(lambda text: text.replace("{", "{{").replace("}", "}}")),
    st.sampled_from(["{title}", "{body}", "{{", "}}", "%", "%s", "\\", "\n"]),
)


@given(parts=st.lists(_PARTS), title=st.text(), body=st.text())
def test_rendering_is_that_of_str_format(parts: list[str], title: str, body: str) -> None:
    text = "".join(parts)
    template = Template(text, SCHEMA)
    values = {"title": title, "body": body}

    rendered = template.render([values[name] for name in template.columns])

    assert rendered == text.format(**values)


@given(text=st.text("{}ab", max_size=8), a=st.text(), b=st.text())
def test_braces_are_refused_where_str_format_refuses_them(text: str, a: str, b: str) -> None:
    schema = pa.schema([(name, pa.string()) for name in "ab"])
    try:
        expected = text.format(a=a, b=b)
    except (ValueError, IndexError, KeyError):
        with pytest.raises(InputError):
            Template(text, schema)
        return
    template = Template(text, schema)

    assert template.render([{"a": a, "b": b}[name] for name in template.columns]) == expected


def test_any_column_may_be_named() -> None:
    template = Template("{Review Text}/{a.b}/{%s}/{Review Text}", SCHEMA)

    assert template.columns == ("Review Text", "a.b", "%s")
    assert template.render(["r", "ab", "%d"]) == "r/ab/%d/r"


@pytest.mark.parametrize("text", ["{title.upper}", "{title[0]}", "{title!r}", "{title:>9}"])
def test_parts_and_formats_of_columns_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="without parts or formats"):
        Template(text, SCHEMA)


def test_unknown_column_lists_the_columns() -> None:
    with pytest.raises(InputError, match="no column 'name'; there are title, body, Review Text"):
        Template("{name}", SCHEMA)
    with pytest.raises(InputError, match="Double braces that are meant as braces"):
        Template('{"json": 1}', SCHEMA)


def test_brace_without_partner_says_where() -> None:
    with pytest.raises(InputError, match=r"the brace at character 8 has no partner; double it"):
        Template("{title}}", SCHEMA)


@pytest.mark.parametrize(
    ("text", "is_column"), [("{body}", True), (" {body}", False), ("{body}{body}", False)]
)
def test_whether_it_is_a_column(text: str, is_column: bool) -> None:
    assert Template(text, SCHEMA).is_column is is_column
