"""Envoy's own answers as a client reads them, from a real Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from igw.gateway.local_replies import DROPPED
from igw.gateway.routes import STREAMED_FROM_BYTES


async def test_a_request_without_a_route_costs_the_picker_nothing(
    serve: Any, picker: Any, manifests: Any, gateway: Any, to_pool: Any
) -> None:
    """404 in OpenAI's shape, and the picker was not asked."""
    server = await serve()
    rules = [{"matches": [{"path": {"value": "/v1"}}], "backendRefs": [to_pool("chat")]}]
    client = await gateway(manifests({"chat": [server.address]}, rules))
    status, headers, answer = await client.ask("/v10/completions")
    assert status == 404
    assert answer["error"]["code"] == "route_not_found"
    assert answer["error"]["param"] is None
    assert headers["content-type"] == "application/json"
    assert headers[DROPPED] == "rejected-no-route"
    assert picker.asked == []
    assert (await client.ask("/v1"))[0] == 200


async def test_a_body_that_is_too_large_is_413(serve: Any, picker: Any, manifests: Any, gateway: Any) -> None:
    """The limit is the setting's; what fits passes."""
    server = await serve()
    annotations = {"igw.dev/request-body": "Buffered"}
    objects = manifests({"chat": [server.address]}, annotations=annotations)
    client = await gateway(objects, max_request_body_bytes=3_000_000)
    status, _, answer = await client.ask(body=b"x" * 2_990_000)
    assert (status, answer["length"]) == (200, 2_990_000)
    status, headers, answer = await client.ask(body=b"x" * 3_100_000)
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert headers[DROPPED] == "rejected-too-large"


async def test_a_body_declared_large_is_streamed_by_itself_and_any_other_is_kept(
    serve: Any, picker: Any, manifests: Any, gateway: Any
) -> None:
    """What Envoy would have to keep is limited, what passes in pieces is not."""
    server = await serve()
    client = await gateway(
        manifests({"chat": [server.address]}), max_request_body_bytes=2 * STREAMED_FROM_BYTES
    )
    size = 3 * STREAMED_FROM_BYTES
    status, _, answer = await client.ask(body=b"x" * size)
    assert (status, answer["length"]) == (200, size)

    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * STREAMED_FROM_BYTES

    async with client.session.post(client.url + "/v1/completions", data=undeclared()) as refused:
        assert refused.status == 413


async def test_a_streamed_body_may_be_larger(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """The annotation sends it to the picker in pieces; the model server gets it whole."""
    one, two = await serve(), await serve()
    client = await gateway(
        manifests({"chat": [one.address, two.address]}, annotations={"igw.dev/request-body": "Streamed"}),
        max_request_body_bytes=100_000,
    )
    picker.decide = lambda _asked: wire.Pick(two.address)
    body = bytes(range(256)) * 20_000
    status, _, answer = await client.ask(body=body)
    assert (status, answer["length"], answer["server"]) == (200, len(body), two.address)
    assert picker.asked[0].body == body


async def test_an_answer_of_the_pickers_own_passes_unchanged(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """Whatever its status: body and headers are the picker's."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    body = '{"error": {"message": "the picker\'s own"}}'
    for status, details in ((400, ""), (404, ""), (413, ""), (429, ""), (500, ""), (503, ""), (504, "late")):
        picker.decide = lambda _asked, status=status, details=details: wire.Answer(
            status, body, {"content-type": "application/json", DROPPED: "rejected-saturated"}, details
        )
        answered, headers, answer = await client.ask()
        assert answered == status
        assert answer == {"error": {"message": "the picker's own"}}
        assert headers[DROPPED] == "rejected-saturated"
        assert "retry-after" not in headers
    assert server.reached.is_set() is False


async def test_no_server_that_answers_is_503(
    serve: Any, manifests: Any, gateway: Any, wire: Any, picker: Any
) -> None:
    """An empty pool, and a pool of one dead server that was picked."""
    server = await serve()
    await server.stop()
    for addresses in ([], [server.address]):
        client = await gateway(manifests({"chat": addresses}))
        picker.decide = lambda _asked: wire.Pick(server.address)
        status, headers, answer = await client.ask()
        assert status == 503
        assert answer["error"]["code"] == "no_endpoints"
        assert (headers[DROPPED], headers["retry-after"]) == ("rejected-no-endpoints", "1")


async def test_a_pool_that_fails_closed_answers_503_when_the_picker_is_gone(
    serve: Any, picker: Any, manifests: Any, gateway: Any
) -> None:
    """At once, in JSON, with a reason."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}, fail="FailClose"))
    assert (await client.ask())[0] == 200
    await picker.stop()
    status, headers, answer = await client.ask()
    assert (status, answer["error"]["code"]) == (503, "picker_unavailable")
    assert (headers[DROPPED], headers["retry-after"]) == ("rejected-picker-unavailable", "1")
    await picker.start()


@pytest.mark.parametrize("limits", [{"request": "200ms"}, {"backendRequest": "200ms"}])
async def test_a_request_over_its_time_is_504(
    serve: Any, manifests: Any, gateway: Any, limits: Any, to_pool: Any
) -> None:
    """Both of the Gateway API's timeouts."""
    server = await serve()
    server.pieces = [b"never sent"]
    rules = [{"timeouts": limits, "backendRefs": [to_pool("chat")]}]
    client = await gateway(manifests({"chat": [server.address]}, rules))
    status, headers, answer = await client.ask()
    assert (status, answer["error"]["code"]) == (504, "timeout")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("backends", [[], [0]])
async def test_a_route_without_a_backend_is_500(
    manifests: Any, gateway: Any, picker: Any, backends: Any, to_pool: Any
) -> None:
    """As the Gateway API asks, in JSON; weight 0 is no backend."""
    rules = [{"backendRefs": [to_pool("chat", weight=weight) for weight in backends]}]
    client = await gateway(manifests({"chat": []}, rules))
    status, headers, answer = await client.ask()
    assert (status, answer["error"]["code"]) == (500, "no_backend")
    assert headers["content-type"] == "application/json"
    assert picker.asked == []


async def test_a_message_envoy_cannot_parse_is_answered_in_json(
    serve: Any, manifests: Any, gateway: Any
) -> None:
    """400 before anything else happens."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    reader, writer = await asyncio.open_connection(*client.runner.addresses["default/web/http"].split(":"))
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()
