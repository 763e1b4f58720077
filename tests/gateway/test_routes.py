"""Which request goes where, by the Gateway API's rules, asked of a real Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.config.gateway_api import HeaderMatch, PathMatch, RouteMatch
from igw.gateway.routes import precedence

# Written worst first: precedence must not depend on the order in the file.
RULES: list[tuple[str, dict[str, Any]]] = [
    ("rest", {"path": {"type": "PathPrefix", "value": "/"}}),
    ("regex", {"path": {"type": "RegularExpression", "value": "/[a-z]+/models"}}),
    ("prefix", {"path": {"type": "PathPrefix", "value": "/v1/"}}),
    ("longer", {"path": {"type": "PathPrefix", "value": "/v1/chat"}}),
    ("post", {"path": {"type": "PathPrefix", "value": "/v1/chat"}, "method": "POST"}),
    (
        "header",
        {
            "path": {"type": "PathPrefix", "value": "/v1/chat"},
            "headers": [{"name": "X-Tier", "value": "gold"}],
        },
    ),
    (
        "headers",
        {
            "path": {"type": "PathPrefix", "value": "/v1/chat"},
            "headers": [
                {"name": "x-tier", "value": "gold"},
                {"name": "x-user", "type": "RegularExpression", "value": "a.*"},
            ],
        },
    ),
    (
        "query",
        {"path": {"type": "PathPrefix", "value": "/v1/chat"}, "queryParams": [{"name": "q", "value": "1"}]},
    ),
    ("exact", {"path": {"type": "Exact", "value": "/v1/chat/completions"}}),
]


async def test_matches_follow_the_gateway_api(
    serve: Any, picker: Any, manifests: Any, gateway: Any, to_pool: Any
) -> None:
    """Exact, longest prefix by segments, regular expression, the rest; then method, headers, query parameters."""
    server = await serve()
    rules = [{"matches": [match], "backendRefs": [to_pool(name)]} for name, match in RULES]
    client = await gateway(manifests({name: [server.address] for name, _ in RULES}, rules))

    async def pool(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> str:
        status, _, _ = await client.ask(path, None, method, headers)
        assert status == 200
        return str(picker.asked[-1].metadata["x-igw-pool"]).removeprefix("default/")

    assert await pool("/v1/chat/completions", method="POST") == "exact"
    assert await pool("/v1/chat/completions?q=1") == "exact"
    assert await pool("/v1/chat/other") == "longer"
    assert await pool("/v1/chat") == "longer"
    assert await pool("/v1/chats") == "prefix"
    assert await pool("/v1") == "prefix"
    assert await pool("/v2") == "rest"
    assert await pool("/v10") == "rest"
    assert await pool("/other/models") == "regex"
    assert await pool("/other/models/x") == "rest"
    assert await pool("/v1/models") == "prefix"
    assert await pool("/v1/chat", method="POST") == "post"
    assert await pool("/v1/chat", {"x-tier": "gold"}) == "header"
    assert await pool("/v1/chat", {"x-tier": "gold"}, "POST") == "post"
    assert await pool("/v1/chat", {"x-tier": "gold", "x-user": "ann"}) == "headers"
    assert await pool("/v1/chat", {"x-tier": "gold", "x-user": "bob"}) == "header"
    assert await pool("/v1/chat?q=1") == "query"
    assert await pool("/v1/../v1/chat/x") == "longer"


async def test_host_names_choose_first(serve: Any, picker: Any, manifests: Any, gateway: Any) -> None:
    """Exact, then wildcard; the port of the Host header does not count; other hosts have no route."""
    server = await serve()
    client = await gateway(
        manifests({"chat": [server.address]}, hostnames=["llm.example.com", "*.example.org"])
    )
    for host, status in (
        ("llm.example.com", 200),
        ("LLM.example.com:8080", 200),
        ("a.b.example.org", 200),
        ("example.org", 404),
        ("other.example.com", 404),
    ):
        assert (await client.ask(headers={"host": host}))[0] == status
    assert len(picker.asked) == 3


async def test_a_pool_may_speak_http2(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """AppProtocol kubernetes.io/h2c, health checks included: another gateway plays the server."""
    server = await serve()
    inner = await gateway(
        manifests(
            {"inner": [server.address]},
            [{"matches": [{"path": {"value": "/v1"}}]}, {"matches": [{"path": {"value": "/health"}}]}],
        )
    )
    async with inner.session.get(
        f"http://{inner.runner.admin_address}/stats?filter=http2.*streams_active"
    ) as before:
        assert before.status == 200
    address = inner.runner.addresses["default/web/http"]
    outer = await gateway(manifests({"outer": [address]}, protocol="kubernetes.io/h2c"))
    picker.decide = lambda _asked: wire.Pick(address)
    status, _, answer = await outer.ask("/v1")
    assert (status, answer["error"]["code"]) == (500, "no_backend")
    async with inner.session.get(
        f"http://{inner.runner.admin_address}/stats?filter=downstream_rq_http2"
    ) as stats:
        counted = [
            int(line.rpartition(": ")[2])
            for line in (await stats.text()).splitlines()
            if "default/web" in line
        ]
    assert max(counted) >= 1


_MATCHES = st.builds(
    RouteMatch,
    path=st.builds(
        PathMatch,
        type=st.sampled_from(["Exact", "PathPrefix", "RegularExpression"]),
        value=st.lists(st.sampled_from(["a", "bb"]), max_size=3).map(lambda parts: "/" + "/".join(parts)),
    ),
    method=st.sampled_from([None, "GET"]),
    headers=st.lists(st.just(HeaderMatch(name="x", value="1")), max_size=2).map(tuple),
)


@given(_MATCHES, _MATCHES)
def test_a_longer_prefix_is_never_hidden_by_a_shorter(one: RouteMatch, other: RouteMatch) -> None:
    """What could match everything that a longer one matches comes after it."""
    if one.path.type == other.path.type == "PathPrefix" and len(one.path.value) > len(other.path.value):
        assert precedence(one) < precedence(other)
    if one.path.type == "Exact" and other.path.type != "Exact":
        assert precedence(one) < precedence(other)


@pytest.mark.parametrize("value", ["/", "/v1"])
def test_a_trailing_slash_changes_no_rank(value: str) -> None:
    """`/v1` and `/v1/` are the same prefix."""
    one, other = (RouteMatch(path=PathMatch(value=v)) for v in (value, value.rstrip("/") + "/"))
    assert precedence(one) == precedence(other)
