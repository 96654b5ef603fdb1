"""The page: small, without a request to anywhere else, and without markup made of text."""

import gzip
import re

from headrace.console.web.page import page_files

MOST_SENT_BYTES = 60_000 // 2
MOST_BYTES = 70_000
FILES = page_files()
SCRIPTS = {name: data.decode() for name, data in FILES.items() if name.endswith(".js")}


def test_it_is_small() -> None:
    assert sum(map(len, FILES.values())) <= MOST_BYTES
    assert sum(len(gzip.compress(each)) for each in FILES.values()) <= MOST_SENT_BYTES


def test_it_asks_nobody_else() -> None:
    for name, data in FILES.items():
        urls = re.findall(
            r"""(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s"'`)]*""", data.decode(), re.IGNORECASE
        )
        assert [each for each in urls if "www.w3.org" not in each] == [], name


def test_text_never_becomes_markup() -> None:
    for name, script in SCRIPTS.items():
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "srcdoc",
            "createContextualFragment",
        ):
            assert way not in script, f"{name}: {way}"


def test_what_the_policy_forbids_is_not_in_the_page() -> None:
    html = FILES["index.html"].decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"\son[a-z]+=", html) == []
    assert " style=" not in html
    assert "<style" not in html
    for name, script in SCRIPTS.items():
        assert re.findall(r"""["']?style["']?\s*:""", script) == [], name


def test_every_import_of_a_script_is_a_file() -> None:
    for name, script in SCRIPTS.items():
        folder = name.rpartition("/")[0]
        for path in re.findall(r"""from "([^"]+)";""", script):
            parts = [each for each in f"{folder}/{path}".split("/") if each not in ("", ".")]
            while ".." in parts:
                at = parts.index("..")
                del parts[at - 1 : at + 1]
            assert "/".join(parts) in FILES, f"{name} imports {path}"


def test_it_can_be_used_without_a_mouse_and_says_what_it_is() -> None:
    html = FILES["index.html"].decode()
    assert '<html lang="en">' in html
    assert 'class="skip"' in html
    assert 'name="viewport"' in html
    css = FILES["style.css"].decode()
    assert ":focus-visible" in css
    assert "prefers-color-scheme: dark" in css
    assert "prefers-reduced-motion" in css


def luminance(color: str) -> float:
    digits = color if len(color) == 6 else "".join(each * 2 for each in color)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_is_read_on_each_ground_by_day_and_by_night() -> None:
    css = FILES["style.css"].decode()
    schemes = re.findall(r":root \{(.*?)\n *\}", css, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6}|[0-9a-f]{3});", scheme))
        for ground in ("ground", "surface", "warn-soft", "bad-soft"):
            for text in ("text", "dim", "accent", "warn", "bad", "busy"):
                found = contrast(colors[text], colors[ground])
                assert found >= 4.5, f"{text} on {ground}: {found:.2f}"
        assert contrast(colors["on-accent"], colors["accent"]) >= 4.5
        # A state's sign beside its word.
        assert contrast(colors["good"], colors["surface"]) >= 3
