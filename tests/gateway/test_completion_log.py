"""What the picker learns of an answer that it never sees, from a real Envoy."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

CHAT = {
    "id": "1",
    "choices": [{"message": {"content": 'say "usage": {"prompt_tokens": 1}'}}],
    "usage": {"prompt_tokens": 70, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 64}},
}
RESPONSES = {
    "type": "response.completed",
    "response": {
        "output": ["x" * 9000],
        "usage": {"input_tokens": 70, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 7},
        "user": None,
    },
}


SGLANG = {"id": "1", "finish_reason": None, "prompt_tokens": 70, "cached_tokens": 64}
TGI = {"finish_reason": "length", "generated_tokens": 7, "input_length": 70}


def _sse(*events: Any) -> list[bytes]:
    return [
        f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events
    ]


STREAMS = {
    "openai stream": _sse(
        *[{"choices": [{"delta": {"content": "a"}}], "usage": None}] * 20,
        {"choices": [], "usage": CHAT["usage"]},
        "[DONE]",
    ),
    "openai body": [json.dumps(CHAT).encode()],
    "openai body in pieces": [json.dumps(CHAT).encode()[at : at + 10] for at in range(0, 40, 10)]
    + [json.dumps(CHAT).encode()[40:]],
    "usage in three pieces": [
        *_sse({"choices": []}),
        *[json.dumps(CHAT).encode()[-n : -m or None] for n, m in ((200, 90), (90, 40), (40, 0))],
        b"\n\n",
    ],
    "responses stream": _sse({"type": "response.output_text.delta", "delta": "a"}, RESPONSES),
    "anthropic stream": _sse(
        {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 6, "cache_read_input_tokens": 64, "output_tokens": 1}},
        },
        *[{"type": "content_block_delta", "delta": {"text": "a" * 3000}}] * 10,
        {"type": "message_delta", "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ),
    "short anthropic stream": _sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 6, "cache_read_input_tokens": 64}}},
        {"type": "message_delta", "usage": {"output_tokens": 7}},
    ),
    "anthropic body": [
        json.dumps(
            {
                "content": [
                    {"type": "tool_use", "input": {"usage": {"cached_tokens": 9, "prompt_tokens": 9}}}
                ],
                "usage": {
                    "input_tokens": 2,
                    "cache_creation_input_tokens": 4,
                    "cache_read_input_tokens": 64,
                    "output_tokens": 7,
                },
            }
        ).encode()
    ],
    "vllm generate": [
        json.dumps({"usage": CHAT["usage"], "choices": [{"token_ids": [1] * 50_000}]}).encode()[
            at : at + 9000
        ]
        for at in range(0, 150_000, 9000)
    ],
    "sglang stream": _sse(
        *[{"text": "a", "meta_info": {**SGLANG, "completion_tokens": n}} for n in range(1, 8)], "[DONE]"
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
async def test_the_log_has_decision_endpoint_and_usage(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any, stream: str
) -> None:
    """Whatever the API and however the answer is cut."""
    server = await serve()
    server.pieces = STREAMS[stream]
    server.gate.set()
    client = await gateway(manifests({"chat": [server.address]}))
    picker.decide = lambda _asked: wire.Pick(server.address, decision="d-42")
    async with client.session.post(
        client.url + "/v1", data=b"{}", headers={"x-request-id": "mine"}
    ) as answer:
        assert await answer.read() == b"".join(server.pieces)
    log = await picker.log()
    assert (log["prompt_tokens"], log["completion_tokens"], log["cached_tokens"]) == ("70", "7", "64")
    assert (log["decision"], log["request_id"], log["endpoint"]) == ("d-42", "mine", server.address)
    assert (log["status"], log["flags"], log["attempts"]) == ("200", "-", "1")
    assert 0 < int(log["upstream_first_byte_us"]) <= int(log["ttft_us"]) <= int(log["duration_us"])


@pytest.mark.parametrize(
    ("pieces", "known"),
    [
        pytest.param(
            _sse({"token": {}, "details": None}, {"token": {}, "details": TGI}),
            ("70", "7", "-"),
            id="tgi stream",
        ),
        pytest.param(
            [
                b'{"deta',
                *[
                    json.dumps({"details": {**TGI, "tokens": [{"id": 1}] * 20_000}}).encode()[at : at + 8000]
                    for at in range(6, 240_000, 8000)
                ],
            ],
            ("70", "7", "-"),
            id="long tgi body",
        ),
        pytest.param([b'{"results":[],"usage":{"total_tokens":70}}'], ("70", "-", "-"), id="rerank"),
        pytest.param(
            [json.dumps([{"meta_info": SGLANG}] * 2).encode()], ("-", "-", "-"), id="several prompts"
        ),
    ],
)
async def test_what_an_answer_does_not_count_is_not_known(
    serve: Any,
    picker: Any,
    manifests: Any,
    gateway: Any,
    wire: Any,
    pieces: list[bytes],
    known: tuple[str, ...],
) -> None:
    """It is not zero, and not made up."""
    server = await serve()
    server.pieces = pieces
    server.gate.set()
    client = await gateway(manifests({"chat": [server.address]}))
    picker.decide = lambda _asked: wire.Pick(server.address, decision="d-42")
    async with client.session.post(client.url + "/v1", data=b"{}") as answer:
        assert await answer.read() == b"".join(pieces)
    log = await picker.log()
    assert (log["prompt_tokens"], log["completion_tokens"], log["cached_tokens"]) == known


async def test_a_client_that_hangs_up_is_told(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """Flags DC, no duration, and the bytes that went out."""
    server = await serve()
    server.pieces = _sse(*[{"choices": [{"delta": {"content": "a"}}]}] * 4)
    client = await gateway(manifests({"chat": [server.address]}))
    picker.decide = lambda _asked: wire.Pick(server.address, decision="gone")
    async with client.session.post(client.url + "/v1", data=b"{}") as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    log = await picker.log()
    assert (log["decision"], log["flags"], log["duration_us"]) == ("gone", "DC", "-")
    assert int(log["bytes_out"]) > 0


async def test_a_client_that_hangs_up_before_there_is_a_pick_is_told_by_its_request(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """The picker may have decided, and Envoy has not heard of it: there is no decision in the record."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    asked = picker.hanging = asyncio.Event()
    headers = {"x-request-id": "left"}
    task = asyncio.ensure_future(
        client.session.post(client.url + "/v1", data=b"{}", headers=headers).__aenter__()
    )
    await asked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    log = await picker.log()
    assert (log["decision"], log["request_id"], log["flags"]) == ("-", "left", "DC")


async def test_a_request_that_was_not_placed_is_not_logged(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any
) -> None:
    """An answer of the picker's own leaves no record behind; the next request's is the first."""
    server = await serve()
    client = await gateway(manifests({"chat": [server.address]}))
    picker.decide = lambda _asked: wire.Answer(429, "{}", {"content-type": "application/json"})
    assert (await client.ask())[0] == 429
    picker.decide = lambda _asked: wire.Pick(server.address, decision="second")
    await client.ask()
    assert (await picker.log())["decision"] == "second"
    assert picker.logs.empty()


async def test_each_picker_hears_of_its_own_pools(
    serve: Any, picker: Any, manifests: Any, gateway: Any, wire: Any, to_pool: Any
) -> None:
    """With two pickers a record goes to the one that decided."""
    second = wire.Picker()
    await second.start()
    server = await serve()
    rules = [
        {"matches": [{"path": {"value": f"/{name}"}}], "backendRefs": [to_pool(name)]}
        for name in ("one", "two")
    ]
    client = await gateway(
        manifests({"one": [server.address], "two": [server.address]}, rules),
        pickers={"default/two": second.address},
    )
    for name, which in (("one", picker), ("two", second)):
        which.decide = lambda asked: wire.Pick(server.address, decision=asked.metadata["x-igw-pool"])
        await client.ask(f"/{name}")
        assert (await which.log())["decision"] == f"default/{name}"
    assert picker.logs.empty()
    assert second.logs.empty()
    await second.stop()
