"""Every block of the pages that promise it is run by a test, and a block that fails is noticed."""

import os
import re
from pathlib import Path

import pytest

from tests.snippets import SnippetError, blocks, commands, run_page

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [
    *sorted(DOCS.glob("quickstart-*.md")),
    DOCS / "bulk.md",
    DOCS / "models.md",
    *sorted(DOCS.glob("cookbook/*.md")),
]
E2E = DOCS.parent / "tests" / "e2e" / "test_documentation.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    problems = [
        f"{page.name}:{block.line}: {problem}"
        for block in blocks(page.read_text())
        if (problem := block.problem()) is not None
    ]

    assert problems == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_run_against_a_service(page: Path) -> None:
    assert f'"{page.relative_to(DOCS)}"' in E2E.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_fence_is_overlooked(page: Path) -> None:
    fences = re.findall(r"^ *```", page.read_text(), re.MULTILINE)

    assert len(fences) == 2 * len(blocks(page.read_text()))


def run_text(folder: Path, text: str) -> list[str]:
    page = folder / "page.md"
    page.write_text(text)
    return run_page(page, folder, {"PATH": os.environ["PATH"]})


def test_files_commands_and_python_run_in_order(tmp_path: Path) -> None:
    printed = run_text(
        tmp_path,
        """\
Before.

<!-- file: data/in.txt -->
```text
two
words
```

- in a list:

  <!-- in: data -->
  ```console
  $ wc -l <in.txt
  2
  ```

  ```console
  $ wc -l <data/in.txt
  2
  $ cat >script.py <<'EOF'
  import sys
  $ is no command here
  EOF
  $ grep -c import \\
      script.py
  1
  ```

```python
from pathlib import Path

print(Path("data/in.txt").read_text().split())
```
""",
    )

    assert printed == ["2\n", "2\n", "", "1\n", "['two', 'words']\n"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```console\n$ false\n```\n", r"page.md:1: exit status 1, not 0: false"),
        ("```console\n$ false\n$ true\n```\n", "exit status 1, not 0"),
        ("```console\n$ false | true\n```\n", "exit status 1, not 0"),
        ("<!-- exit: 3 -->\n```console\n$ true\n```\n", "exit status 0, not 3"),
        ("text\n```python\nraise SystemExit(4)\n```\n", "page.md:2: exit status 4, not 0"),
        ("```console\n$ echo a\nb\n```\n", "echo a does not print 'b', but\na"),
        ("```python\nimport no_such_module\n```\n", "No module named 'no_such_module'"),
        ("```yaml\na: 1\n```\n", "a block of yaml that is not run says no reason"),
        ("```\na\n```\n", "a block of no language"),
        ("```console\nheadrace up\n```\n", "no command"),
        ("<!-- shown:  -->\n```console\n$ true\n```\n", "shown: says no reason"),
        ("<!-- hidden: x -->\n```console\n$ true\n```\n", "unknown comment hidden"),
    ],
)
def test_what_does_not_do_what_it_says_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SnippetError, match=re.escape(problem)):
        run_text(tmp_path, text)


def test_what_is_only_shown_is_not_run(tmp_path: Path) -> None:
    text = (
        "<!-- exit: 3 -->\n```console\n$ exit 3\n```\n<!-- shown: no Spark -->\n```text\nx\n```\n"
    )

    assert run_text(tmp_path, text) == [""]


def test_commands_end_where_the_next_begins() -> None:
    found = commands("$ a\nout\n\n$ b \\\n  c\n$ d <<X\n1\nX\nout\nmore\n")

    assert [each.text for each in found] == ["a", "b \\\n  c", "d <<X\n1\nX"]
    assert [each.shown for each in found] == [["out"], [], ["out", "more"]]


def test_lines_that_a_page_shows_are_printed(tmp_path: Path) -> None:
    run_text(tmp_path, "```console\n$ seq 8 12\n9\n1…\n12\n```\n")

    for shown in ("9\n8", "1", "13", "9…"):
        with pytest.raises(SnippetError, match="seq 8 12 does not print"):
            run_text(tmp_path, f"```console\n$ seq 8 12\n{shown}\n```\n".replace("9…", "9…9"))
