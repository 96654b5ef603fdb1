"""Draws the console's pictures for the documentation: ``python -m tests.console_pictures``.

It needs Chromium, and prints what the page cost: bytes, and the time to its first paint.
"""

import gzip
import io
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

from PIL import Image

from headrace.console.live.history import EVERY_S, MOST_POINTS
from headrace.console.web.page import page_files
from headrace.overview.snapshot import Overview
from tests.chromium import Browser, chromium_path
from tests.consoles import FakeConsole, served

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DESK, PHONE = (1440, 1000), (390, 844)
COLORS = 128
PICTURES = (
    ("console.png", DESK, False, "overview", 1.0),
    ("console-dark.png", DESK, True, "overview", 1.0),
    ("console-route.png", DESK, False, "routes/embed", 1.0),
    ("console-dead-letters.png", DESK, False, "dead-letters", 1.0),
    ("console-jobs.png", DESK, False, "jobs", 1.0),
    ("console-settings.png", DESK, False, "settings", 1.0),
    ("console-phone.png", PHONE, False, "overview", 2.0),
    ("console-phone-dark.png", PHONE, True, "dead-letters", 2.0),
)
SHIPPED = ("console.png", "console-dark.png", "console-phone.png")


def with_history(console: FakeConsole) -> FakeConsole:
    """Give a console ten minutes that have passed."""
    chance = random.Random(7)
    begun_s = console.feed._clock.monotonic() - MOST_POINTS * EVERY_S
    overview = console.service.overview_now
    for place in range(MOST_POINTS):
        wave = math.sin(place / 17) * 0.18 + chance.uniform(-0.05, 0.05)
        at_s = begun_s + place * EVERY_S
        console.feed._history.add(_at(overview, place, wave), at_s)
    return console


def _at(overview: Overview, place: int, wave: float) -> Overview:
    routes = []
    for number, route in enumerate(overview.routes):
        is_down = route.is_standing_still and place > 84
        rate = 0.0 if is_down else (route.latest and route.latest.completed_records_per_s) or 6.0
        lag = route.lag
        if lag is not None:
            way = 1 - (place - MOST_POINTS) / (180 + 40 * number)
            left = lag.left_records * (way if not route.is_standing_still else place / MOST_POINTS)
            lag = replace(lag, left_records=max(0, round(left * (1 + wave / 3))))
        rates = route.latest
        if rates is not None:
            rates = replace(rates, completed_records_per_s=max(0.0, rate * (1 + wave)))
        routes.append(replace(route, latest=rates, lag=lag))
    return replace(overview, routes=routes)


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or those of the documentation."""
    program = chromium_path()
    if program is None:
        sys.exit("no Chromium here: install it, or name it in CHROMIUM")
    files = page_files().values()
    packed = sum(len(gzip.compress(each)) for each in files)
    print(f"the page: {packed:,} bytes by gzip, {sum(map(len, files)):,} without")  # noqa: T201
    console = with_history(FakeConsole(partitions=12))
    folder = IMAGES if not names else Path(names[0])
    folder.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser, served(console) as url:
        for name, (width, height), is_dark, place, scale in PICTURES:
            if not names and name not in SHIPPED:
                continue
            with browser.page() as page:
                page.look(width, height, is_dark=is_dark, scale=scale)
                page.open(f"{url}/#{place}")
                page.wait_for("document.querySelector('#link').textContent === 'live'")
                page.wait_for("document.querySelectorAll('main table, main pre').length > 0")
                page.wait_for("document.querySelectorAll('main tbody tr, main pre').length > 0")
                paint_ms = page.value(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
                drawn = Image.open(io.BytesIO(page.picture()))
            # A page of few colours: a palette is a quarter of the bytes, and nobody sees it.
            drawn.convert("RGB").quantize(COLORS).save(folder / name, optimize=True)
            size = (folder / name).stat().st_size
            print(f"{folder / name}: {size:,} bytes; first paint after {paint_ms:.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
