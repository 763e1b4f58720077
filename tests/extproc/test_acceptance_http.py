"""Upstream's hermetic HTTP cases (H1 to H19), through a real gRPC channel and the whole picker but scraping.

What differs on purpose is said where it does, and in docs/wire.md: errors are JSON, header-only requests without endpoints are 503,
headers are only set where they change, and bodies keep their bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from igw.app.settings import PickerSettings
from tests.extproc.wire import (
    LEAST_LOADED,
    SSE,
    Load,
    answer,
    answer_body,
    answer_headers,
    body,
    config,
    headers,
    kinds,
    passed,
    prompt,
    refusal,
    refusal_headers,
    routed_to,
    set_headers,
    standard,
    wire,
)

P1, P2, P3 = (f"192.168.1.{number}:8000" for number in (1, 2, 3))
ADAPTER = "sql-lora-1fdg2"


async def test_h1_the_endpoint_with_the_shorter_queue_and_more_memory_wins(tmp_path: Path) -> None:
    """Two replies: the pick, and the body for the model that the header asks for; the priority is the objective's."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*standard("my-model", "my-model-12345"))
        assert ["request_headers", "request_body"] == kinds(replies)
        assert P2 == routed_to(replies)
        assert [(prompt("my-model-12345"), True)] == passed(replies)
        labels = {"model_name": "my-model", "target_model_name": "my-model-12345", "priority": "2"}
        assert 1 == picker.metric("request_total", **labels)
        assert 3 == picker.metric("ready_endpoints")


async def test_h2_an_active_adapter_with_a_short_queue_wins(tmp_path: Path) -> None:
    """Over an endpoint that is as free and has other adapters."""
    loads = Load(0, 0.2, ("foo", "bar")), Load(0, 0.1, ("foo", ADAPTER)), Load(10, 0.2, ("foo", "bar"))
    async with wire(tmp_path, *loads) as picker:
        replies = await picker.exchange(*standard("sql-lora", ADAPTER))
        assert P2 == routed_to(replies)
        assert [(prompt(ADAPTER), True)] == passed(replies)


async def test_h3_an_active_adapter_counts_more_than_memory(tmp_path: Path) -> None:
    """All queues are as long."""
    loads = Load(10, 0.2, ("foo", "bar")), Load(10, 0.4, ("foo", ADAPTER)), Load(10, 0.3, ("foo",))
    async with wire(tmp_path, *loads) as picker:
        assert P2 == routed_to(await picker.exchange(*standard("sql-lora", ADAPTER)))


async def test_h4_the_passthrough_parser_reads_nothing(tmp_path: Path) -> None:
    """Neither JSON nor a model is needed; the objective counts all the same."""
    extra = config(parser="passthrough-parser")
    async with wire(tmp_path, *LEAST_LOADED, extra=extra) as picker:
        asked = headers(x_llm_d_inference_objective="my-model")
        replies = await picker.exchange(asked, body(b"passthrough-parser"))
        assert P2 == routed_to(replies)
        assert [(b"passthrough-parser", True)] == passed(replies)
        labels = {"model_name": "", "target_model_name": "", "priority": "2"}
        assert 1 == picker.metric("request_total", **labels)


BUSY = Load(6, 0.2, ("foo", "sql-lora-1fdg3")), Load(0, 0.85, ("foo",)), Load(10, 0.9, ("foo",))


async def test_h5_nobody_is_shed_by_default(tmp_path: Path) -> None:
    """All are busy: the one with the adapter it is."""
    async with wire(tmp_path, *BUSY) as picker:
        replies = await picker.exchange(*standard("sql-lora", "sql-lora-1fdg3", "sql-lora-sheddable"))
        assert P1 == routed_to(replies)
        assert 1 == picker.metric("request_total", priority="0", target_model_name="sql-lora-1fdg3")


async def test_h6_a_body_that_is_no_json_is_a_400(tmp_path: Path) -> None:
    """One reply; what is wrong and where, in OpenAI's shape (upstream: a line of text)."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(b"no healthy upstream"))
        assert ["immediate_response"] == kinds(replies)
        status, code, message = refusal(replies)
        assert (400, "BadRequest") == (status, code)
        assert "the request body is not a valid completions request" in message
        assert "no healthy upstream" not in message


async def test_h7_a_body_may_be_cut_in_the_middle_of_the_models_name(tmp_path: Path) -> None:
    """It is put together and goes on in one piece; an objective that says no priority has 0."""
    data = prompt("sql-lora-sheddable")
    cut = data.index(b"sheddable")
    async with wire(tmp_path, *BUSY) as picker:
        asked, _ = standard("sql-lora-sheddable", "sql-lora-1fdg3")
        replies = await picker.exchange(asked, body(data[:cut], end=False), body(data[cut:]))
        assert P1 == routed_to(replies)
        assert [(prompt("sql-lora-1fdg3"), True)] == passed(replies)
        assert 1 == picker.metric("request_total", model_name="sql-lora-sheddable", priority="0")


async def test_h8_a_request_without_a_body_and_endpoints_is_a_503(tmp_path: Path) -> None:
    """As every other, with a reason (upstream: 500 without one)."""
    async with wire(tmp_path) as picker:
        replies = await picker.exchange(headers("/v1/models", end=True))
        assert (503, "ServiceUnavailable") == refusal(replies)[:2]
        assert "rejected-no-endpoints" == refusal_headers(replies)["x-llm-d-request-dropped-reason"]


async def test_h9_a_missing_model_is_a_400(tmp_path: Path) -> None:
    """In upstream's words."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(b'{"prompt":"hello world"}'))
        assert (400, "BadRequest", "model not found in request body") == refusal(replies)


@pytest.mark.parametrize(
    ("subset", "picked"),
    [([P1, P2, P3], P2), ([P3], P3), (["192.168.1.99:8000"], None)],
    ids=["h10 best", "h11 partial", "h12 none"],
)
async def test_h10_to_h12_the_gateways_subset_is_kept_to(
    tmp_path: Path, subset: list[str], picked: str | None
) -> None:
    """However loaded its members are; nobody left is a 503 with its reason."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*standard("sql-lora", ADAPTER, subset=subset))
        if picked is not None:
            assert picked == routed_to(replies)
            return
        assert (503, "ServiceUnavailable") == refusal(replies)[:2]
        assert "rejected-no-endpoints" == refusal_headers(replies)["x-llm-d-request-dropped-reason"]


async def test_the_gateways_subset_can_be_ignored(tmp_path: Path) -> None:
    """By upstream's `--disable-endpoint-subset-filter`."""
    settings = PickerSettings(paths=(), ignores_subsets=True)
    async with wire(tmp_path, *LEAST_LOADED, settings=settings) as picker:
        for subset in ([P3], ["192.168.1.99:8000"]):
            replies = await picker.exchange(*standard("sql-lora", ADAPTER, subset=subset))
            assert routed_to(replies) == P2


async def test_h13_a_model_that_is_asked_for_directly_stays(tmp_path: Path) -> None:
    """The body goes on as it came, and no length is set anew."""
    data = prompt("direct-model")
    async with wire(tmp_path, *BUSY) as picker:
        asked, _ = standard("direct-model", content_length=str(len(data)))
        replies = await picker.exchange(asked, body(data[:30], end=False), body(data[30:]))
        assert [(data, True)] == passed(replies)
        assert ["x-gateway-destination-endpoint"] == list(set_headers(replies[0].request_headers))
        assert 1 == picker.metric("request_total", model_name="direct-model", priority="2")


async def test_h14_a_rewrite_rule_wins_over_the_header(tmp_path: Path) -> None:
    """What the rule says is in the body, its length and the metrics."""
    model = "model-to-be-rewritten"
    data, new = prompt(model), prompt("rewritten-model")
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*standard(model, model, content_length=str(len(data))))
        assert [(new, True)] == passed(replies)
        assert str(len(new)) == set_headers(replies[0].request_headers)["content-length"]
        labels = {"model_name": model, "target_model_name": "rewritten-model"}
        assert 1 == picker.metric("request_total", **labels)
        assert 1 == picker.metric("model_rewrite_decisions_total", model_rewrite_name="default/rewrite-test")


async def test_h15_a_request_without_a_body_gets_a_pick(tmp_path: Path) -> None:
    """At once, by the same way as any other."""
    async with wire(tmp_path, Load()) as picker:
        replies = await picker.exchange(headers("/v1/models", end=True))
        assert ["request_headers"] == kinds(replies)
        assert P1 == routed_to(replies)


COUNTED = b'{"id":"x","usage":{"prompt_tokens":7,"completion_tokens":10,"total_tokens":17}}'


@pytest.mark.parametrize(
    "pieces",
    [(COUNTED[:20], COUNTED[20:]), (b"no healthy upstream",), (COUNTED, b"")],
    ids=["h16 cut", "h17 no JSON", "h18 empty end"],
)
async def test_h16_to_h18_an_answer_without_a_request_passes(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    """Piece by piece and at once; its headers stay as they are (upstream keeps the body until it is whole, and sets all headers anew)."""
    async with wire(tmp_path, Load()) as picker:
        replies = await picker.exchange(*answer(*pieces))
        assert ["response_headers", *["response_body"] * len(pieces)] == kinds(replies)
        assert not set_headers(replies[0].response_headers)
        assert [(piece, at == len(pieces)) for at, piece in enumerate(pieces, 1)] == passed(
            replies, "response_body"
        )


@pytest.mark.parametrize("asked", [True, False], ids=["with its request", "alone"])
async def test_h19_a_streams_usage_is_counted_once(tmp_path: Path, asked: bool) -> None:
    """Each piece passes, the last ends it. Without its request there is nobody to count it for (upstream counts it for no model)."""
    usage = b"data: " + COUNTED + b"\n\ndata: [DONE]\n\n"
    begin = answer_headers(("status", "200"), SSE)
    said: list[Any] = [begin, answer_body(b"data: {}\n\n"), answer_body(usage), answer_body(b"", end=True)]
    async with wire(tmp_path, Load()) as picker:
        replies = await picker.exchange(*(standard("my-model") if asked else []), *said)
        assert [(b"data: {}\n\n", False), (usage, False), (b"", True)] == passed(replies, "response_body")
        assert (7 if asked else None) == picker.metric("request_input_tokens_sum")
        assert (1 if asked else None) == picker.metric("request_input_tokens_count")
