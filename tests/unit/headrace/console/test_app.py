"""What the console answers, to whom, and with which headers."""

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from headrace.console.access.attempts import MOST_FAILURES, PER_S
from headrace.console.access.sessions import LASTS_S
from headrace.console.live.feed import MOST_LISTENERS
from headrace.console.web.guard import COOKIE, MOST_BODY_BYTES, MOST_QUERY_BYTES
from headrace.overview.snapshot import Overview
from headrace_client.registry.announcements import Action
from headrace_client.wire.names import Place
from schemas.settings.console import ConsoleSettings
from tests.consoles import ACT_TOKEN, HOSTILE, READ_TOKEN, FakeConsole, a_letter, with_tokens

ACT = {"x-headrace-console": "1"}
HERE = "http://127.0.0.1:8270"
READS = (
    "/api/overview",
    "/api/routes/embed",
    "/api/dead-letters",
    "/api/jobs",
    "/api/settings",
    "/metrics",
)
ACTS = ("/api/dead-letters/replay", "/api/jobs/nightly/cancel", "/api/jobs/nightly/pause")


class SteppedClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return int(self.now_s * 1000)


def client_of(console: FakeConsole, base_url: str = HERE) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=console.app, raise_app_exceptions=True)
    return httpx2.AsyncClient(transport=transport, base_url=base_url)


def secured(clock: Any = None, **changes: Any) -> FakeConsole:
    settings, environment = with_tokens(**changes)
    return FakeConsole(settings, environment=environment, clock=clock)


async def test_without_tokens_all_is_read_on_this_machine() -> None:
    console = FakeConsole()
    async with client_of(console) as client:
        for path in READS:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["cache-control"] == "no-store"
        overview = Overview.from_dict((await client.get("/api/overview")).json())
        assert overview.routes == console.service.overview_now.routes
        assert (await client.get("/metrics")).text.startswith("# TYPE")
        assert (await client.get("/api/jobs")).json()["jobs"][0]["name"] == "nightly-embeddings"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/style.css",
        "/main.js",
        "/nothing",
        "/healthz",
        "/readyz",
        "/api/nothing",
        "/api/session",
        *READS,
    ],
)
async def test_every_answer_forbids_what_the_page_does_not_need(path: str) -> None:
    async with client_of(FakeConsole()) as client:
        headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_with_tokens_nothing_is_told_without_one() -> None:
    async with client_of(secured()) as client:
        for path in (*READS, "/api/events"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert set(answer.json()) == {"error"}
        for path in ACTS:
            assert (await client.post(path, json={}, headers=ACT)).status_code == 401
        for path in ("/", "/style.css", "/main.js", "/views/route.js", "/healthz"):
            assert (await client.get(path)).status_code == 200, path


async def test_the_read_token_reads_and_the_act_token_acts() -> None:
    console = secured()
    async with client_of(console) as client:
        reads = {"authorization": f"Bearer {READ_TOKEN}"}
        acts = {"authorization": f"bearer {ACT_TOKEN}"}
        for path in READS:
            assert (await client.get(path, headers=reads)).status_code == 200
            assert (await client.get(path, headers=acts)).status_code == 200
        body = {"route": "embed"}
        for path in ACTS:
            refused = await client.post(path, json=body, headers=reads)
            assert refused.status_code == 403
            assert "act token" in refused.json()["error"]
            assert (await client.post(path, json=body, headers=acts)).status_code == 200
    assert [each[1] for each in console.jobs.told] == [Action.CANCEL, Action.PAUSE]
    assert len(console.letters.replayed) == 1


async def test_with_a_read_token_alone_nobody_acts() -> None:
    settings = ConsoleSettings(read_token_env="READ")
    console = FakeConsole(settings, environment={"READ": READ_TOKEN})
    headers = {"authorization": f"Bearer {READ_TOKEN}"}
    async with client_of(console) as client:
        answer = await client.post(ACTS[0], json={"route": "embed"}, headers=headers)
        assert answer.status_code == 403
        assert "console.act_token_file" in answer.json()["error"]
        assert (await client.get("/api/session")).json()["highest_grant"] == "read"


async def test_a_browser_logs_in_by_a_cookie_that_no_script_and_no_other_site_gets() -> None:
    clock = SteppedClock()
    console = secured(clock, public_url="https://headrace.example.com", host="0.0.0.0")
    async with client_of(console, "https://headrace.example.com") as client:
        answer = await client.post("/api/session", json={"token": READ_TOKEN}, headers=ACT)
        assert answer.json() == {"grant": "read"}
        cookie = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=strict", "secure", "path=/"):
            assert part in cookie
        assert READ_TOKEN not in cookie
        assert (await client.get("/api/overview")).status_code == 200
        assert (await client.get("/api/session")).json() == {
            "grant": "read",
            "highest_grant": "act",
            "has_session": True,
        }
        clock.now_s += LASTS_S
        assert (await client.get("/api/overview")).status_code == 401


async def test_logging_out_ends_the_session() -> None:
    async with client_of(secured()) as client:
        await client.post("/api/session", json={"token": ACT_TOKEN}, headers=ACT)
        stolen = client.cookies[COOKIE]
        acted = await client.post(ACTS[1], json={}, headers=ACT)
        assert acted.status_code == 200
        await client.delete("/api/session", headers=ACT)
        again = await client.get("/api/overview", headers={"cookie": f"{COOKIE}={stolen}"})
        assert again.status_code == 401


@pytest.mark.parametrize("by", ["session", "token", "rotation"])
async def test_what_is_granted_is_asked_again_while_an_answer_lasts(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, environment = with_tokens()
    console = FakeConsole(settings, environment=environment)
    granted: list[Any] = []
    listen = console.feed.listen

    def listening(may_listen: Any) -> Any:
        granted.append(may_listen)
        # An answer that ends at once: this client reads an answer to its end.
        return listen(lambda: False)

    monkeypatch.setattr(console.feed, "listen", listening)
    async with client_of(console) as client:
        headers = {"authorization": f"Bearer {READ_TOKEN}"} if by == "token" else {}
        if by != "token":
            await client.post("/api/session", json={"token": READ_TOKEN}, headers=ACT)
        feeding = asyncio.create_task(console.feed.run())
        assert (await client.get("/api/events", headers=headers)).status_code == 200
        feeding.cancel()
        [may_listen] = granted
        assert may_listen()
        if by == "session":
            await client.delete("/api/session", headers=ACT)
        else:
            environment["READ"] = "another-0123456789abcdef"
        assert not may_listen()


async def test_a_cookie_is_no_use_to_another_sites_page() -> None:
    console = secured()
    async with client_of(console) as client:
        await client.post("/api/session", json={"token": ACT_TOKEN}, headers=ACT)
        for headers in (
            {},
            {**ACT, "origin": "https://evil.example"},
            {**ACT, "sec-fetch-site": "cross-site"},
        ):
            answer = await client.post(ACTS[0], json={"route": "embed"}, headers=headers)
            assert answer.status_code == 403
        # A form, which needs no preflight, has no JSON.
        form = await client.post(ACTS[0], data={"route": "embed"}, headers=ACT)
        assert form.status_code == 415
    assert console.letters.replayed == []


@pytest.mark.parametrize("path", [*READS, *ACTS, "/", "/api/events"])
async def test_a_rebound_name_gets_nothing(path: str) -> None:
    console = FakeConsole()
    async with client_of(console, "http://evil.example:8270") as client:
        answer = await client.request("POST" if path in ACTS else "GET", path, headers=ACT)
    assert answer.status_code == 421
    assert console.service.taken == 0
    assert console.letters.replayed == []


async def test_guesses_are_counted_wherever_they_are_made() -> None:
    clock = SteppedClock()
    async with client_of(secured(clock)) as client:
        for each in range(MOST_FAILURES):
            if each % 2:
                guess = {"authorization": f"Bearer {each}"}
                assert (await client.get("/api/overview", headers=guess)).status_code == 401
            else:
                login = await client.post("/api/session", json={"token": "x" * 20}, headers=ACT)
                assert login.status_code == 401
        wrong = {"authorization": "Bearer one-too-many"}
        late = await client.get("/api/overview", headers=wrong)
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) == PER_S
        login = await client.post("/api/session", json={"token": "x" * 20}, headers=ACT)
        assert login.status_code == 429
        clock.now_s += PER_S + 1
        assert (await client.get("/api/overview", headers=wrong)).status_code == 401


async def test_wrong_tokens_do_not_keep_others_of_the_same_address_out() -> None:
    async with client_of(secured(SteppedClock())) as client:
        for _ in range(3 * MOST_FAILURES):
            guess = {"authorization": "Bearer guessed"}
            assert (await client.get("/api/overview", headers=guess)).status_code in (401, 429)
        right = {"authorization": f"Bearer {READ_TOKEN}"}
        assert (await client.get("/api/overview", headers=right)).status_code == 200
        login = await client.post("/api/session", json={"token": ACT_TOKEN}, headers=ACT)
        assert login.status_code == 200
        assert (await client.post(ACTS[1], json={}, headers=ACT)).status_code == 200


@pytest.mark.parametrize("token", [None, 7, ["x"], {"a": 1}, "x" * 5_000, "", "\ud800" * 20])
async def test_what_is_no_token_logs_nobody_in(token: object) -> None:
    async with client_of(secured()) as client:
        content = (
            orjson.dumps({"token": token}) if token != "\ud800" * 20 else b'{"token":"\\ud800"}'
        )
        headers = {**ACT, "content-type": "application/json"}
        answer = await client.post("/api/session", content=content, headers=headers)
        assert answer.status_code in (400, 401)
        assert "set-cookie" not in answer.headers


async def test_probes_answer_everybody_and_tell_nothing() -> None:
    console = secured()
    async with client_of(console, "http://10.0.0.7:8270") as client:
        assert (await client.get("/healthz")).status_code == 200
        console.service.problem = "the status board does not answer: secret detail"
        await console.feed.refresh()
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready"}
        told = await client.get("/readyz", headers={"authorization": f"Bearer {READ_TOKEN}"})
        assert "secret detail" in told.json()["why"]
        console.service.problem = None
        await console.feed.refresh()
        assert (await client.get("/readyz")).status_code == 200


async def test_the_service_away_is_503_with_the_reason() -> None:
    console = FakeConsole()
    console.service.problem = "the status board does not answer"
    async with client_of(console) as client:
        answer = await client.get("/api/overview")
        assert answer.status_code == 503
        assert answer.json() == {"error": "the status board does not answer"}


async def test_limits_on_what_comes_in() -> None:
    console = FakeConsole()
    async with client_of(console) as client:
        assert (await client.get(f"/api/jobs?{'x' * MOST_QUERY_BYTES}=1")).status_code == 414
        assert (await client.get(f"/api/routes/{'x' * 2_000}")).status_code == 414
        assert (await client.get(f"/api/dead-letters?route={'x' * 300}")).status_code == 400
        large = b'{"places": ["' + b"x" * MOST_BODY_BYTES + b'"]}'
        headers = {**ACT, "content-type": "application/json"}
        assert (await client.post(ACTS[0], content=large, headers=headers)).status_code == 413

        async def pieces() -> Any:
            for _ in range(20):
                yield b" " * (MOST_BODY_BYTES // 10)

        streamed = await client.post(ACTS[0], content=pieces(), headers=headers)
        assert streamed.status_code == 413
        deep = b'{"a":' + b"[" * 30_000
        assert (await client.post(ACTS[0], content=deep, headers=headers)).status_code == 400
    assert console.letters.replayed == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name places, or the route"),
        ([], "JSON object"),
        ({"places": "x/1/2"}, "places"),
        ({"places": ["x"]}, "TOPIC/PARTITION/OFFSET"),
        ({"places": [7]}, "TOPIC/PARTITION/OFFSET"),
        ({"places": ["x/1/2"] * 501}, "at most 500"),
        ({"route": 7}, "route"),
        ({"route": "x" * 300}, "route"),
        ({"route": "embed", "limit_records": 0}, "limit_records"),
        ({"route": "embed", "limit_records": 10_001}, "limit_records"),
        ({"route": "embed", "limit_records": True}, "limit_records"),
        ({"route": "embed", "failed_before_ms": -1}, "failed_before_ms"),
        ({"route": "embed", "everything": True}, "everything"),
    ],
)
async def test_what_is_wrong_with_a_replay_is_named(body: object, said: str) -> None:
    console = FakeConsole()
    async with client_of(console) as client:
        answer = await client.post(ACTS[0], json=body, headers=ACT)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert console.letters.replayed == []


async def test_a_replay_is_what_was_chosen() -> None:
    console = FakeConsole()
    async with client_of(console) as client:
        body = {"places": ["embed.dead-letters/3/9", "embed.dead-letters/3/9"]}
        answer = await client.post(ACTS[0], json=body, headers=ACT)
        assert answer.json() == {"replayed_records": 1, "left_records": 0, "problems": []}
    [chosen] = console.letters.replayed
    assert chosen.places == {Place("embed.dead-letters", 3, 9)}


async def test_jobs_are_told_by_whom() -> None:
    console = FakeConsole()
    async with client_of(console) as client:
        name = "a job/with a slash? & more"
        path = httpx2.URL(HERE).copy_with(raw_path=b"/api/jobs/nightly%20run/pause")
        assert (await client.post(path, json={}, headers=ACT)).status_code == 200
        assert (await client.post("/api/jobs/x/explode", json={}, headers=ACT)).status_code == 404
        long = await client.post(f"/api/jobs/{'x' * 300}/pause", json={}, headers=ACT)
        assert long.status_code == 400
        assert name not in [each[0] for each in console.jobs.told]
    assert console.jobs.told == [("nightly run", Action.PAUSE, "console@127.0.0.1")]


async def test_a_route_that_is_not_there() -> None:
    async with client_of(FakeConsole()) as client:
        answer = await client.get("/api/routes/nothing")
        assert answer.status_code == 404
        assert "embed" in answer.json()["error"]


async def test_ten_thousand_partitions_are_columns() -> None:
    async with client_of(FakeConsole(partitions=10_000)) as client:
        answer = await client.get("/api/routes/embed")
    partitions = answer.json()["partitions"]
    assert len(partitions["left_records"]) == 10_000
    assert len(answer.content) < 600_000


async def test_text_of_records_goes_out_as_json_and_nothing_else() -> None:
    console = FakeConsole()
    console.letters.rows = [a_letter(1, error_message=HOSTILE, custom_id=HOSTILE)]
    async with client_of(console) as client:
        answer = await client.get("/api/dead-letters")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["rows"][0]["custom_id"] == HOSTILE
        # An address with markup is not given back as a page.
        missing = await client.get("/<script>alert(1)</script>")
        assert missing.headers["content-type"] == "application/json"


async def test_the_page_is_not_sent_twice() -> None:
    async with client_of(FakeConsole()) as client:
        first = await client.get("/main.js")
        assert first.headers["content-type"].startswith("text/javascript")
        again = await client.get("/main.js", headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""


class Stream:
    """A request whose answer does not end."""

    def __init__(self, console: FakeConsole, path: str) -> None:
        self.status = 0
        self.body = b""
        self.has_begun = asyncio.Event()
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8270")],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
        }
        self.task = asyncio.ensure_future(console.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        if b"event: overview" in self.body or self.status != 200:
            self.has_begun.set()

    async def close(self) -> None:
        self._gone.set()
        await self.task


async def test_events_come_and_their_number_is_limited() -> None:
    console = FakeConsole()
    streams = [Stream(console, "/api/events") for _ in range(MOST_LISTENERS)]
    for each in streams:
        await asyncio.wait_for(each.has_begun.wait(), 10)
    assert {each.status for each in streams} == {200}
    assert console.service.taken == 1
    one_more = Stream(console, "/api/events")
    await one_more.task
    assert one_more.status == 503
    for each in streams:
        await each.close()
    assert console.feed.listeners == 0
