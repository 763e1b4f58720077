"""Who may ask the metrics port: by place, by a token in a file, by a cluster's word."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from igw.debugging.access import Authority, TokenFile, guard, shown
from igw.debugging.reviews import ACCESS, TOKENS, Reviews
from igw.errors import ConfigError


async def _said(_request: web.Request) -> web.Response:
    return web.Response(text="said")


@contextlib.asynccontextmanager
async def serving(authority: Authority | None) -> AsyncIterator[ClientSession]:
    """Serve an open page and a guarded one, and yield who asks."""
    app = web.Application(middlewares=[guard(authority)])
    app.router.add_get("/metrics", _said)
    app.router.add_route("*", "/debug/{what:.*}", _said)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def answered(peer: str, path: str, host: str = "127.0.0.1:9090") -> tuple[int, str]:
    """Return status and text of what a *peer* gets that asks for *path* of a process without tokens."""

    class Transport:
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return (peer, 1) if name == "peername" else default

        def is_closing(self) -> bool:
            return False

    request = make_mocked_request("GET", path, {"host": host}, transport=Transport())
    answer = await guard(None)(request, _said)
    assert isinstance(answer, web.Response)
    return answer.status, answer.text or ""


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_may_ask_everything(peer: str) -> None:
    """Where no tokens are asked for."""
    assert await answered(peer, "/debug/decisions") == (200, "said")


@pytest.mark.parametrize("path", ["/debug/decisions", "/debug/profile", "/", "/debug", "/metrics/../debug/x"])
async def test_others_may_read_metrics_only(path: str) -> None:
    """And are told what to do instead."""
    assert await answered("10.0.0.7", "/metrics") == (200, "said")
    status, text = await answered("10.0.0.7", path)
    assert status == 403
    assert "kubectl port-forward" in text
    assert "--metrics-token-file" in text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9090", 200),
        ("[::1]:9090", 200),
        ("127.0.0.1", 200),
        ("evil.example", 403),
        ("evil.example:9090", 403),
    ],
)
async def test_a_name_that_somebody_made_lead_here_is_no_loopback(host: str, status: int) -> None:
    """A page in a browser on this machine can have its own name mean 127.0.0.1."""
    assert (await answered("127.0.0.1", "/debug/tasks", host))[0] == status


async def test_where_tokens_are_asked_for_nothing_is_open(tmp_path: Path) -> None:
    """Neither metrics nor this machine."""
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    basic = "Basic " + base64.b64encode(b"anybody:hunter2").decode()
    async with serving(TokenFile(file, lambda: 0.0)) as ask:
        for path in ("/metrics", "/debug/decisions"):
            async with ask.get(path) as answer:
                assert answer.status == 401
                assert "Authorization: Bearer" in (await answer.json())["error"]
                assert [each.split()[0] for each in answer.headers.getall("www-authenticate")] == [
                    "Bearer",
                    "Basic",
                ]
            async with ask.get(path, headers={"authorization": "Bearer hunter3"}) as answer:
                assert answer.status == 401
                assert "hunter" not in await answer.text()
            async with ask.get(path, headers={"authorization": "bearer hunter2"}) as answer:
                assert (answer.status, await answer.text()) == (200, "said")
            async with ask.get(path, headers={"authorization": basic}) as answer:
                assert answer.status == 200


async def test_a_token_that_was_rotated_is_read_again(tmp_path: Path) -> None:
    """And stays good while the file cannot be read."""
    file, now = tmp_path / "token", [0.0]
    file.write_text("old")
    tokens = TokenFile(file, lambda: now[0])
    assert (await tokens.answer("old", "get", "/metrics")).verdict.value == 200
    file.write_text("newer")
    now[0] += 10
    assert (await tokens.answer("old", "get", "/metrics")).verdict.value == 401
    assert (await tokens.answer("newer", "get", "/metrics")).verdict.value == 200
    file.unlink()
    now[0] += 10
    assert (await tokens.answer("newer", "get", "/metrics")).verdict.value == 200


def test_a_file_without_a_token_is_an_error_of_the_start(tmp_path: Path) -> None:
    """Not of the first scrape."""
    file = tmp_path / "token"
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is no bearer token"):
        TokenFile(file, lambda: 0.0)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("Basic " + base64.b64encode(b"user:a:b").decode(), "a:b"),
        ("Basic !!!", ""),
        ("Basic " + base64.b64encode(b"\xff").decode(), ""),
        ("Digest abc", ""),
        ("", ""),
    ],
)
def test_a_token_is_shown_as_bearer_or_as_password(header: str, token: str) -> None:
    """What cannot be read is none."""
    assert shown(header) == token


# A cluster --------------------------------------------------------------------------------------------------------


class ApiServer:
    """Knows tokens and who may what; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.may = {("prometheus", "get", "/metrics")}
        self.refuses = 0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        review = msgspec.json.decode(request.content)
        self.asked.append(review)
        if self.refuses:
            return httpx2.Response(
                self.refuses, json={"kind": "Status", "code": self.refuses, "message": "no"}
            )
        if request.url.path == TOKENS:
            known = review["spec"]["token"] == "good"
            user = {"username": "prometheus", "groups": ["scrapers"], "extra": {"a": ["b"]}}
            status = {"authenticated": True, "user": user} if known else {"authenticated": False}
            return httpx2.Response(201, json={**review, "status": status})
        assert request.url.path == ACCESS
        wants = review["spec"]["nonResourceAttributes"]
        assert review["spec"]["groups"] == ["scrapers"]
        assert review["spec"]["extra"] == {"a": ["b"]}
        allowed = (review["spec"]["user"], wants["verb"], wants["path"]) in self.may
        return httpx2.Response(201, json={**review, "status": {"allowed": allowed}})


@pytest.fixture
def server() -> ApiServer:
    """Give an API server."""
    return ApiServer()


def reviews(server: ApiServer, clock: Callable[[], float] = lambda: 0.0) -> Reviews:
    """Return what asks *server*."""
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(server.answer), base_url="http://api")
    return Reviews(http, clock)


async def test_the_cluster_says_who_may_read_what(server: ApiServer) -> None:
    """401 for a token of nobody, 403 for one who may not, each with the cure."""
    async with serving(reviews(server)) as ask:
        async with ask.get("/metrics", headers={"authorization": "Bearer good"}) as answer:
            assert answer.status == 200
        async with ask.get("/metrics", headers={"authorization": "Bearer bad"}) as answer:
            assert answer.status == 401
            assert "kubectl create token" in (await answer.json())["error"]
        async with ask.put("/debug/log-level", headers={"authorization": "Bearer good"}) as answer:
            assert answer.status == 403
            assert (await answer.json())["error"] == (
                "prometheus may not put /debug/log-level; bind them a ClusterRole with nonResourceURLs "
                '["/debug/log-level"] and verbs ["put"]'
            )


async def test_answers_are_believed_for_a_short_while(server: ApiServer) -> None:
    """A scrape every few seconds is no burden for the API server; a right that was taken away ends within a minute."""
    now = [0.0]
    known = reviews(server, lambda: now[0])
    for _ in range(5):
        assert (await known.answer("good", "get", "/metrics")).verdict.value == 200
    assert len(server.asked) == 2
    server.may.clear()
    now[0] += 61
    assert (await known.answer("good", "get", "/metrics")).verdict.value == 403
    server.may.add(("prometheus", "get", "/metrics"))
    now[0] += 11
    assert (await known.answer("good", "get", "/metrics")).verdict.value == 200


async def test_invented_tokens_do_not_grow_memory(server: ApiServer) -> None:
    """And none is kept in clear."""
    known = reviews(server)
    for number in range(1100):
        await known.answer(f"bad{number}", "get", "/metrics")
    assert len(known._known) == 1024
    assert "bad" not in repr(list(known._known))


@pytest.mark.parametrize(
    ("status", "cure"), [(403, "system:auth-delegator"), (500, "the picker's log says why")]
)
async def test_an_api_server_that_does_not_say_lets_nobody_in(
    server: ApiServer, status: int, cure: str
) -> None:
    """503, and it is asked again the next time."""
    server.refuses = status
    known = reviews(server)
    answer = await known.answer("good", "get", "/metrics")
    assert answer.verdict.value == 503
    assert cure in answer.why
    server.refuses = 0
    assert (await known.answer("good", "get", "/metrics")).verdict.value == 200
