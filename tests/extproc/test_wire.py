"""What passes between a gateway and the whole picker but scraping: body modes, pieces, trailers, lists, metadata, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from igw.app.settings import PickerSettings
from igw.decision import Decision
from igw.errors import DropReason, Rejected
from igw.request import Request
from tests.extproc.wire import (
    LEAST_LOADED,
    POOL,
    SSE,
    answer,
    answer_body,
    answer_headers,
    body,
    config,
    headers,
    hint,
    kinds,
    passed,
    prompt,
    refusal,
    refusal_headers,
    routed_to,
    set_headers,
    standard,
    trailers,
    wire,
)

P1, P2, P3 = (f"192.168.1.{number}:8000" for number in (1, 2, 3))
NONE, STREAMED, BUFFERED, DUPLEX = 0, 1, 2, 4


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(0, 1), (61_000, 1), (62_000, 1), (62_001, 2), (63_000, 2), (124_000, 2), (125_000, 3)],
)
async def test_a_body_goes_back_in_pieces_of_62_000_bytes(tmp_path: Path, size: int, pieces: int) -> None:
    """Put together they are what came; the last one says so, and an empty body is one piece."""
    data = bytes(range(256)) * (size // 256 + 1)
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        back = passed(await picker.exchange(headers("/unknown"), body(data[:size])))
    assert (pieces, data[:size]) == (len(back), b"".join(piece for piece, _ in back))
    assert [False] * (pieces - 1) + [True] == [end for _, end in back]
    assert all(len(piece) <= 62_000 for piece, _ in back)


@pytest.mark.parametrize("in_trailers", [False, True], ids=["", "request trailers"])
@pytest.mark.parametrize("sse", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("answer_trailers", [False, True], ids=["", "answer trailers"])
async def test_each_part_of_an_exchange_has_its_reply_in_order(
    tmp_path: Path, in_trailers: bool, sse: bool, answer_trailers: bool
) -> None:
    """And the answer is settled once."""
    said: list[Any] = [headers(), body(prompt("m"), end=not in_trailers)]
    said += [trailers()] if in_trailers else []
    said += [answer_headers(*((SSE,) if sse else ())), answer_body(b"data: 1\n\n")]
    said += (
        [answer_body(b"data: 2\n\n"), trailers("response_trailers")]
        if answer_trailers
        else [answer_body(b"data: 2\n\n", end=True)]
    )
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*said)
        expected = ["request_headers", "request_body", *["request_trailers"] * in_trailers,
                    "response_headers", "response_body", "response_body",
                    *["response_trailers"] * answer_trailers]  # fmt: skip
        assert expected == kinds(replies)
        assert [(prompt("m"), not in_trailers)] == passed(replies)
        assert [(b"data: 1\n\n", False), (b"data: 2\n\n", not answer_trailers)] == passed(
            replies, "response_body"
        )
        assert (0, 1) == (picker.open(), picker.metric("request_duration_seconds_count"))


async def test_a_buffered_body_stays_with_the_gateway_unless_it_changes(tmp_path: Path) -> None:
    """Its headers are acknowledged first; the pick is in the reply to the body. The answer is buffered too, and acknowledged."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        asked = headers(modes=(BUFFERED, BUFFERED))
        replies = await picker.exchange(asked, body(prompt("m")), *answer(b'{"usage":{"prompt_tokens":7}}'))
        assert ["request_headers", "request_body", "response_headers", "response_body"] == kinds(replies)
        assert not replies[0].request_headers.response.HasField("header_mutation")
        assert P2 == routed_to(replies, "request_body")
        assert not replies[1].request_body.response.HasField("body_mutation")
        assert not replies[3].response_body.response.HasField("body_mutation")
        assert (0, 7) == (picker.open(), picker.metric("request_input_tokens_sum"))
        model = "model-to-be-rewritten"
        asked = headers(modes=(BUFFERED, BUFFERED), content_length=str(len(prompt(model))))
        said = b'{"model":"rewritten-model","usage":{"prompt_tokens":1}}'
        replies = await picker.exchange(asked, body(prompt(model)), *answer(said))
        new = prompt("rewritten-model")
        assert new == replies[1].request_body.response.body_mutation.body
        assert str(len(new)) == set_headers(replies[1].request_body)["content-length"]
        assert said.replace(b"rewritten-model", model.encode()) == (
            replies[3].response_body.response.body_mutation.body
        )


async def test_a_streamed_body_is_not_waited_for(tmp_path: Path) -> None:
    """The pick is in the reply to the headers, unread; every piece of body and answer is acknowledged."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        asked = headers(modes=(STREAMED, STREAMED))
        pieces = [body(prompt("m")[:9], end=False), body(prompt("m")[9:])]
        replies = await picker.exchange(
            asked, *pieces, *answer(b'{"usage":', b'{"prompt_tokens":7}}', sse=False)
        )
        assert P2 == routed_to(replies)
        assert [
            "request_headers",
            *["request_body"] * 2,
            "response_headers",
            *["response_body"] * 2,
        ] == kinds(replies)
        assert not any(
            getattr(reply, reply.WhichOneof("response")).response.HasField("body_mutation")
            for reply in replies
        )
        assert (0, 7) == (picker.open(), picker.metric("request_input_tokens_sum"))


async def test_a_body_that_is_not_shown_needs_no_model(tmp_path: Path) -> None:
    """The pick is in the reply to the headers; the answer's status counts, its end is not seen."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(modes=(NONE, NONE)), answer_headers(status="500"))
        assert ["request_headers", "response_headers"] == kinds(replies)
        assert P2 == routed_to(replies)
        assert 1 == picker.open()


async def test_who_tells_no_path_gets_the_pick_with_the_headers_and_its_prompt_is_read(
    tmp_path: Path,
) -> None:
    """As the process beside NGINX asks: no pseudo headers, names in capitals, one whole body; it looks at the reply to the headers only."""
    opening = headers("")
    del opening.request_headers.headers.headers[:]
    opening.request_headers.headers.headers.add(key="Content-Type", value="application/json")
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(opening, body(prompt("llama")))
        assert P2 == routed_to(replies)
        assert 1 == picker.metric("request_total", model_name="llama")


async def test_a_hint_that_comes_with_the_body_counts(tmp_path: Path) -> None:
    """It is the later one; without it that of the headers does."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        late = body(prompt("m"))
        hint(late, [P3])
        assert P3 == routed_to(await picker.exchange(headers(subset=[P1]), late))
        assert P1 == routed_to(await picker.exchange(headers(subset=[P1]), body(prompt("m"))))


async def test_a_picker_of_several_endpoints_names_them_best_first(tmp_path: Path) -> None:
    """In header and metadata alike, where the gateway tries them in order."""
    extra = config(ranking=("max-score-picker",), maxNumOfEndpoints=3)
    async with wire(tmp_path, *LEAST_LOADED, extra=extra) as picker:
        assert f"{P2},{P1},{P3}" == routed_to(await picker.exchange(*standard("m")))


@pytest.mark.parametrize("served_by", [P3, ""])
async def test_who_served_is_told_by_the_gateway(tmp_path: Path, served_by: str) -> None:
    """Metrics and health go by it; a plugin puts it into a header, as conformance tests want."""
    extra = config("destination-endpoint-served-verifier")
    async with wire(tmp_path, *LEAST_LOADED, extra=extra) as picker:
        told: list[str] = []
        picker.picker._ledger.listen(lambda _decision, outcome: told.append(outcome.served_by))
        said = [answer_headers(served_by=served_by), answer_body(b"{}", end=True)]
        replies = await picker.exchange(*standard("m"), *said)
        assert [served_by] == told
        missing = "fail: missing destination endpoint served metadata"
        assert {"x-conformance-test-served-endpoint": served_by or missing} == set_headers(
            replies[2].response_headers
        )


class Denied(Rejected):
    """What a plugin of somebody's may raise."""

    status = 403
    code = "Forbidden"
    reason = DropReason.PLUGIN


async def test_a_typed_error_keeps_its_status_wherever_it_comes_from(tmp_path: Path) -> None:
    """From a plugin too; it is counted by its code."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:

        async def denies(_request: Request) -> Decision:
            raise Denied("not for you")

        picker.picker.extproc.route = denies
        replies = await picker.exchange(*standard("my-model"))
        assert (403, "Forbidden", "not for you") == refusal(replies)
        assert 1 == picker.metric("request_error_total", error_code="Forbidden")


async def test_filters_that_leave_nobody_are_a_429(tmp_path: Path) -> None:
    """With upstream's reason."""
    extra = config(ranking=("header-based-testing-filter",))
    async with wire(tmp_path, *LEAST_LOADED, extra=extra) as picker:
        replies = await picker.exchange(*standard("m"))
        assert (429, "ResourceExhausted") == refusal(replies)[:2]
        assert "rejected-saturated" == refusal_headers(replies)["x-llm-d-request-dropped-reason"]
        assert P3 == routed_to(await picker.exchange(*standard("m", test_epp_endpoint_selection=P3)))


@pytest.mark.parametrize(
    ("prefer", "cached", "status"),
    [
        ("if-available", False, 412),
        ("if-available", True, 0),
        ('respond-async, IF-AVAILABLE; a="b", wait=5', False, 412),
        ("wait=5", False, 0),
        ("if-available-not", False, 0),
    ],
)
async def test_a_request_may_want_its_prefix_or_nothing(
    tmp_path: Path, prefer: str, cached: bool, status: int
) -> None:
    """412 where nobody has it (RFC 7240's list, in any case and with parameters), and no reservation stays."""
    long = b'{"model":"m","prompt":"%s"}' % (b"a long prompt " * 100)
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        if cached:
            await picker.answered(headers(), body(long))
        before = picker.open()
        replies = await picker.exchange(headers(prefer=prefer), body(long))
        if status:
            assert (status, "PreconditionFailed") == refusal(replies)[:2]
            assert before == picker.open()
        else:
            assert "immediate_response" not in kinds(replies)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("mode", [DUPLEX, BUFFERED])
async def test_scores_of_all_candidates_come_with_the_pick_if_asked_for(
    tmp_path: Path, mode: int, asked: bool
) -> None:
    """Also of those that were not picked, beside the pick; none of those that the hint left out."""
    settings = PickerSettings(paths=(), emit_endpoint_scores=asked)
    async with wire(tmp_path, *LEAST_LOADED, settings=settings) as picker:
        replies = await picker.exchange(*standard("m", subset=[P1, P2], modes=(mode, NONE)))
        (said,) = [reply.dynamic_metadata["envoy.lb"] for reply in replies if reply.dynamic_metadata.fields]
        assert P2 == said["x-gateway-destination-endpoint"]
        if not asked:
            assert "x-gateway-destination-endpoint-scores" not in said
            return
        scores = dict(said["x-gateway-destination-endpoint-scores"])
        assert {P1, P2} == set(scores)
        assert scores[P2] > scores[P1] >= 0


async def test_a_request_that_is_refused_in_the_middle_ends_there(tmp_path: Path) -> None:
    """What the gateway had sent by then is of no use; nothing is reserved, and the exchange ends in order."""
    async with wire(tmp_path) as picker:
        pieces = [body(b"x" * 1000, end=False)] * 50
        replies = await picker.exchange(headers(modes=(STREAMED, STREAMED)), *pieces, body(b"x"))
        assert ["immediate_response"] == kinds(replies)
        assert 0 == picker.open()


GENERIC = f"""\
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {{name: generic}}
spec:
  poolRef: {{name: {POOL}}}
  rules:
  - targets: [{{modelRewrite: the-default}}]
"""


@pytest.mark.parametrize(
    ("path", "written", "filled"),
    [
        ("/v1/completions", b'{"prompt":"p"}', b'{"model":"the-default","prompt":"p"}'),
        ("/v1/completions", b' {\n "prompt":"p"}', b' {"model":"the-default",\n "prompt":"p"}'),
        ("/v1/completions", b'{"prompt":"p","model":null}', b'{"prompt":"p","model":"the-default"}'),
        ("/v1/messages", b'{"messages":[1]}', b'{"model":"the-default","messages":[1]}'),
        ("/v1/completions", b'{"model":"m","prompt":"p"}', b'{"model":"the-default","prompt":"p"}'),
    ],
)
async def test_a_rule_for_every_name_fills_in_a_missing_one(
    tmp_path: Path, path: str, written: bytes, filled: bytes
) -> None:
    """As the first field, with the length put right; nothing is written back into an answer whose client named no model."""
    async with wire(tmp_path, *LEAST_LOADED, extra=GENERIC) as picker:
        said = b'{"model":"the-default"}'
        replies = await picker.exchange(
            headers(path, content_length=str(len(written))), body(written), *answer(said)
        )
        assert [(filled, True)] == passed(replies)
        assert str(len(filled)) == set_headers(replies[0].request_headers)["content-length"]
        named = b'"m"' in written
        assert said.replace(b"the-default", b"m") if named else said == passed(replies, "response_body")[0][0]
        assert 1 == picker.metric(
            "request_total", model_name="m" if named else "", target_model_name="the-default"
        )


async def test_a_header_fills_in_a_missing_name_too(tmp_path: Path) -> None:
    """Where no rule does, it is a 400; a body that lacks more is one all the same."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        asked = headers(x_llm_d_model_name_rewrite="by-header")
        ((data, _),) = passed(await picker.exchange(asked, body(b'{"prompt":"p"}')))
        assert b'{"model":"by-header","prompt":"p"}' == data
        replies = await picker.exchange(asked, body(b"{}"))
        assert (400, "`prompt` not found in request body; completions needs it") == refusal(replies)[::2]


def test_settings_of_the_server_are_those_of_the_picker() -> None:
    """Whoever starts a picker can ask for them."""
    from igw.app.picker import Picker

    asked = PickerSettings(
        paths=(), emit_endpoint_scores=True, plain_text_errors=True, fail_open_on_faults=True
    )
    settings = Picker(asked).extproc.settings
    names = ("emit_endpoint_scores", "plain_text_errors", "fail_open_on_faults")
    assert all(getattr(settings, name) for name in names)
    assert not any(getattr(type(settings)(), name) for name in names)
    assert msgspec.structs.asdict(settings)["hidden_answer_seconds"] > 0
