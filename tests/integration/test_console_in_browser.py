"""The console's page in a real browser, on a phone's and on a desk's screen."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from headrace.overview.snapshot import Overview, Reason, ReasonCode, RouteState
from headrace_client.registry.announcements import Action
from schemas.settings.console import ConsoleSettings
from tests.chromium import PATIENCE_S, Browser, Page, chromium_path
from tests.consoles import (
    ACT_TOKEN,
    HOSTILE,
    READ_TOKEN,
    FakeConsole,
    a_letter,
    served,
    with_rate,
    with_tokens,
)
from tests.overviews import a_route, an_overview

PROGRAM = chromium_path()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium here: install it, or name it in CHROMIUM"
)
SCREENS = [(390, 844), (1440, 900)]
PAGES = ("overview", "routes/embed", "dead-letters", "jobs", "settings")
LIVE = "document.querySelector('#link').textContent === 'live'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM) as running:
        yield running


def shows(text: str) -> str:
    return f"document.querySelector('main').innerText.includes({text!r})"


def click(page: Page, text: str) -> None:
    page.value(
        "[...document.querySelectorAll('button, a, summary')]"
        f".find((each) => each.textContent === {text!r} && each.offsetParent).click()"
    )


@pytest.mark.parametrize(("width", "height"), SCREENS)
@pytest.mark.parametrize("is_dark", [False, True])
def test_each_page_fits_its_screen_and_asks_nobody_else(
    browser: Browser, width: int, height: int, is_dark: bool
) -> None:
    long = "a-route-with-a-name-that-is-as-long-as-names-of-routes-may-be-in-settings"
    overview = an_overview(more_routes=46)
    overview = replace(overview, routes=[*overview.routes, a_route(long, "minilm")])
    console = FakeConsole(overview=overview, partitions=10_000)
    with served(console) as url, browser.page() as page:
        page.look(width, height, is_dark=is_dark)
        for name in PAGES:
            page.open(f"{url}/#{name}")
            page.wait_for(LIVE)
            page.wait_for("document.querySelector('main h1') !== null")
            assert page.value("document.documentElement.scrollWidth") <= width, name
        page.open(f"{url}/#routes/embed")
        page.wait_for(shows("10,000 partitions"))
        assert page.value("document.querySelectorAll('*').length") < 1_500
        page.open(f"{url}/#overview")
        page.wait_for(shows("route-45"))
        assert page.value("document.querySelectorAll('main tbody tr').length") == 54
        assert page.value("document.querySelectorAll('*').length") < 4_000
        assert page.problems == []
        assert all(each.startswith((url, "data:")) for each in page.requests)


def test_it_is_live_and_says_what_stands_still(browser: Browser) -> None:
    console = FakeConsole(overview=Overview(at_ms=1, routes=[with_rate(a_route(), 17.0)]))
    with served(console) as url, browser.page() as page:
        page.look(1440, 900)
        page.open(url)
        page.wait_for(shows("nothing stands still"))
        page.wait_for(shows("17/s"))
        why = Reason(code=ReasonCode.NO_MODEL_REPLICA, text="no replica of minilm runs")
        standing = replace(a_route(), state=RouteState.STANDING_STILL, reasons=[why])
        console.service.overview_now = Overview(at_ms=1, routes=[standing])
        page.wait_for(shows("no replica of minilm runs"))
        assert page.value(shows("stands still"))
        console.service.problem = "the status board does not answer"
        page.wait_for(shows("the status board does not answer"))
        assert page.value("document.querySelector('#link').textContent") == "no answer"
        console.service.problem = None
        page.wait_for(LIVE)
        assert page.problems == []


def test_it_comes_back_after_a_restart(browser: Browser) -> None:
    with browser.page() as page:
        page.look(1440, 900)
        console = FakeConsole()
        with served(console) as url:
            page.open(url)
            page.wait_for(LIVE)
        page.wait_for("document.querySelector('#link').textContent === 'reconnecting'")
        port = int(url.rpartition(":")[2])
        later = FakeConsole(
            ConsoleSettings(port=port), overview=Overview(at_ms=1, routes=[a_route("later")])
        )
        with served(later, port=port):
            page.wait_for(LIVE)
            page.wait_for(shows("later"))


def test_text_that_others_wrote_is_text(browser: Browser) -> None:
    overview = an_overview()
    job = replace(overview.jobs[0], name=HOSTILE, description=HOSTILE, waits_for=[HOSTILE])
    reason = Reason(code=ReasonCode.WAITS, text=HOSTILE)
    standing = replace(a_route(), state=RouteState.STANDING_STILL, reasons=[reason])
    model = replace(overview.models[0], why_not=HOSTILE, runs_on=[HOSTILE])
    console = FakeConsole(overview=replace(overview, jobs=[job], routes=[standing], models=[model]))
    console.letters.rows = [
        a_letter(1, custom_id=HOSTILE, error_message=HOSTILE, error_code=HOSTILE, route=HOSTILE)
    ]
    with served(console) as url, browser.page() as page:
        page.look(1440, 900)
        for name in PAGES:
            page.open(f"{url}/#{name}")
            page.wait_for(LIVE)
            if name != "settings":
                page.wait_for(shows("onerror"))
            assert page.value("document.querySelectorAll('main img, main script').length") == 0
            assert page.value("document.title") != "owned"
        page.open(f"{url}/#routes/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        page.wait_for(shows("There is no such route"))
        assert page.value("document.querySelectorAll('main img').length") == 0
        assert page.problems == []


def test_a_token_opens_the_page_and_another_one_acts(browser: Browser) -> None:
    settings, environment = with_tokens()
    console = FakeConsole(settings, environment=environment)
    with served(console) as url, browser.page() as page:
        page.look(390, 844)
        page.open(f"{url}/#dead-letters")
        page.wait_for("document.querySelector('#login').open")
        assert not page.value(shows("invalid_json"))
        page.wait_for("document.activeElement.id === 'token'")
        page.type("a-wrong-token-of-some-length")
        page.press("Enter", 13)
        page.wait_for("document.querySelector('#login-problem').textContent.includes('none of')")
        page.type(READ_TOKEN)
        page.press("Enter", 13)
        page.wait_for("!document.querySelector('#login').open")
        page.wait_for(LIVE)
        page.wait_for(shows("invalid_json"))
        assert page.value("document.cookie") == ""
        assert not any(READ_TOKEN in each for each in page.requests)

        click(page, "Replay")
        page.wait_for("document.querySelector('#login').open")
        page.type(ACT_TOKEN)
        page.press("Enter", 13)
        page.wait_for("document.querySelector('#toasts').innerText.includes('replayed')")
        [chosen] = console.letters.replayed
        assert len(chosen.places) == 1
        page.open(f"{url}/#dead-letters")
        click(page, "Log out")
        page.wait_for("document.querySelector('#login').open")


def test_what_cannot_be_taken_back_is_asked_for_first(browser: Browser) -> None:
    console = FakeConsole()
    with served(console) as url, browser.page() as page:
        page.look(1440, 900)
        page.open(f"{url}/#jobs")
        page.wait_for(shows("nightly-embeddings"))
        click(page, "Cancel")
        page.wait_for("document.querySelector('#ask').open")
        # The answer that does nothing has the focus.
        page.press("Enter", 13)
        page.wait_for("!document.querySelector('#ask').open")
        assert console.jobs.told == []
        click(page, "Cancel")
        page.wait_for("document.querySelector('#ask').open")
        click(page, "Cancel the job")
        until(lambda: console.jobs.told)
        assert console.jobs.told == [("nightly-embeddings", Action.CANCEL, "console@127.0.0.1")]
        click(page, "Pause")
        until(lambda: len(console.jobs.told) == 2)
        assert page.problems == []


def test_keys_reach_everything(browser: Browser) -> None:
    with served(FakeConsole()) as url, browser.page() as page:
        page.look(1440, 900)
        page.open(url)
        page.wait_for(shows("summarise"))
        seen = []
        for _ in range(40):
            page.press("Tab", 9)
            seen.append(page.value("document.activeElement.textContent"))
            if seen[-1] == "rerank":
                break
        assert seen[0] == "To the content"
        assert {"Overview", "Dead letters", "Jobs", "Settings", "embed", "rerank"} <= set(seen)
        page.press("Enter", 13)
        page.wait_for("location.hash === '#routes/rerank'")
        page.wait_for("document.activeElement.id === 'main'")


def until(is_true: object) -> None:
    assert callable(is_true)
    end_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < end_s
        time.sleep(0.02)
