"""What is served: the page and nothing that it could be made to run, one frame for all who look, and none for nobody."""

from __future__ import annotations

import asyncio
import re
from importlib import resources
from typing import Any

import aiohttp
import msgspec
import pytest

from igw.dashboard.dashboard import _FILES, EVENTS, PAGE, PATH
from igw.dashboard.feed import Feed
from igw.dashboard.overview import Overview
from igw.errors import Shed
from tests.dashboard.conftest import Desk

STATIC = resources.files("igw.dashboard") / "static"
SCRIPTS = sorted(name for name in _FILES if name.endswith(".js"))


async def got(path: str, **headers: str) -> tuple[int, Any, bytes]:
    """Return status, headers and body of a page."""
    async with Desk(4).served() as address, aiohttp.ClientSession() as http:
        async with http.get(address + path, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()


@pytest.mark.parametrize("name", ["", *_FILES])
async def test_a_file_is_served_with_a_policy_that_lets_it_load_ours_alone(name: str) -> None:
    """No script or style but in files, and in nobody's frame."""
    status, headers, body = await got(PAGE + name)
    assert status == 200
    assert body
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == (
        "'none'",
        "'self'",
        "'self'",
    )
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


async def test_every_static_file_is_served_and_no_other() -> None:
    """Names are looked up, no path is made of them."""
    assert {each.name for each in STATIC.iterdir()} == set(_FILES)
    for name in ("dashboard.py", "..%2fdashboard.py", "%2e%2e/state.py"):
        assert (await got(PAGE + name))[0] == 404


@pytest.mark.parametrize("path", ["/", PAGE.rstrip("/")])
async def test_the_root_leads_to_the_page(path: str) -> None:
    """So that the address alone is enough."""
    status, headers, _ = await got(path)
    assert (status, headers["location"]) == (302, PAGE)


def test_the_page_has_nothing_inline_and_asks_nobody_else() -> None:
    """The policy would stop it; this says where."""
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|<style", page)
    for name in _FILES:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), name


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_markup_of_text(name: str) -> None:
    """What servers, models and tenants are called stays text."""
    text = (STATIC / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setAttribute\(.style",
        text,
    )


async def test_a_name_that_somebody_else_may_say_leads_nowhere() -> None:
    """The guard of the debug pages is before these too: a page of somebody's cannot read them by a name of its own."""
    for path in (PATH, EVENTS, PAGE):
        assert (await got(path, host="evil.example"))[0] == 403


async def test_the_snapshot_and_the_stream_say_the_same() -> None:
    """Until the picker stops, which ends the stream."""
    desk = Desk(4)
    desk.fill()
    async with desk.served() as address, aiohttp.ClientSession() as http:
        async with http.get(address + PATH) as answer:
            one = msgspec.json.decode(await answer.read(), type=Overview)
        async with http.get(address + EVENTS) as stream:
            assert stream.content_type == "text/event-stream"
            line = await stream.content.readline()
            assert msgspec.json.decode(line.removeprefix(b"data: "), type=Overview) == one
            desk.dashboard.close()
            assert await stream.content.read() == b"\n"


async def test_a_refusal_is_counted_and_told_on() -> None:
    """Whoever counts refusals still does."""
    desk, told = Desk(1), []
    refused = desk.dashboard.refusing(lambda request, rejected: told.append((request, rejected)))
    shed = Shed("full")
    refused(None, shed)
    desk.now += 1
    assert told == [(None, shed)]
    async with desk.served() as address, aiohttp.ClientSession() as http, http.get(address + PATH) as answer:
        assert msgspec.json.decode(await answer.read(), type=Overview).traffic.refused_per_second == 0.1


class Counted:
    """A feed that counts the frames it makes, on a clock that the test sets."""

    def __init__(self) -> None:
        self.now, self.made = 0.0, 0
        self.feed = Feed(self.frame, lambda: self.now)

    def frame(self) -> bytes:
        self.made += 1
        return str(self.made).encode()


async def test_a_frame_is_made_once_for_all_who_look_and_never_for_nobody() -> None:
    """However many there are."""
    counted = Counted()
    assert counted.made == 0
    viewers = [counted.feed.frames() for _ in range(5)]
    assert [await anext(viewer) for viewer in viewers] == [b"1"] * 5
    assert counted.feed.viewers == 5
    counted.now += 1.0
    assert [await anext(viewer) for viewer in viewers] == [b"2"] * 5
    for viewer in viewers:
        await viewer.aclose()
    assert counted.feed.viewers == 0
    assert counted.made == 2


async def test_a_feed_that_is_closed_ends_its_streams_at_once() -> None:
    """Nobody waits for the next second."""
    counted = Counted()
    viewer = counted.feed.frames()
    await anext(viewer)
    waiting = asyncio.create_task(anext(viewer, b"end"))
    await asyncio.sleep(0)
    counted.feed.close()
    async with asyncio.timeout(0.5):
        assert await waiting == b"end"
