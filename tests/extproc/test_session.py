"""Playbooks of the ext_proc session: events in, effects out, in every order of messages, the wrong ones included."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint
from igw.errors import NoEndpoints
from igw.extproc.events import (
    PIECE_BYTES,
    Acknowledge,
    Answered,
    BodyMode,
    Decide,
    Ended,
    Event,
    FirstByte,
    Modes,
    PassBody,
    ProtocolError,
    Refuse,
    ReplaceBody,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    SendPick,
    SetAnswerHeaders,
)
from igw.extproc.session import Session, State
from igw.parsing.usage import NOTHING, Usage
from igw.request import Head, Request

DUPLEX = Modes()
BUFFERED = Modes(BodyMode.BUFFERED, BodyMode.NONE)
STREAMED = Modes(BodyMode.STREAMED, BodyMode.STREAMED)
HEAD = Head(
    "/v1/chat/completions", "POST", {":path": "/v1/chat/completions", "content-type": "application/json"}
)
DECISION = Decision(7, Request(HEAD), (Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000)))


def headers(modes: Modes = DUPLEX, *, end: bool = False, head: Head = HEAD) -> RequestHeaders:
    return RequestHeaders(head, end, modes)


def pick(part: str, remove: tuple[str, ...] = ()) -> SendPick:
    return SendPick(part, DECISION, "10.0.0.1:8000,10.0.0.2:8000", list(remove))


def plain(effects: object) -> list[object]:
    """Return effects with bodies as bytes, which compare."""
    return [
        PassBody(effect.part, bytes(effect.data), effect.end) if isinstance(effect, PassBody) else effect
        for effect in effects  # type: ignore[attr-defined]
    ]


def test_a_streamed_body_is_collected_and_sent_back_after_the_pick() -> None:
    """Protocol 004's way: nothing is answered before the last piece, then everything in order."""
    session = Session(1000)
    assert () == session.receive(headers())
    assert () == session.receive(RequestBody(b"one ", end=False))
    assert (Decide(HEAD, b"one two"),) == session.receive(RequestBody(b"two", end=True))
    assert [pick("request_headers"), PassBody("request_body", b"one two", end=True)] == plain(
        session.decided(DECISION)
    )
    assert State.ROUTED is session.state


def test_a_buffered_body_is_answered_with_the_pick_and_not_sent_back() -> None:
    """The proxy kept the body; its headers are still open to changes."""
    session = Session(1000)
    assert (Acknowledge("request_headers"),) == session.receive(headers(BUFFERED))
    assert (Decide(HEAD, b"all"),) == session.receive(RequestBody(b"all", end=True))
    assert (pick("request_body"),) == session.decided(DECISION)


def test_a_buffered_body_before_trailers_is_whole_although_it_does_not_end_the_stream() -> None:
    """Envoy leaves end_of_stream unset on it when trailers follow."""
    session = Session(1000)
    session.receive(headers(BUFFERED))
    assert (Decide(HEAD, b"all"),) == session.receive(RequestBody(b"all", end=False))
    session.decided(DECISION)
    assert (Acknowledge("request_trailers"),) == session.receive(RequestTrailers())


@pytest.mark.parametrize(("end", "body"), [(True, b"all"), (False, None)])
def test_a_part_of_a_body_is_not_read(end: bool, body: bytes | None) -> None:
    """A proxy that keeps as much as it can says with the end that it is all."""
    session = Session(1000)
    session.receive(headers(Modes(BodyMode.BUFFERED_PARTIAL, BodyMode.NONE)))
    assert (Decide(HEAD, body),) == session.receive(RequestBody(b"all", end=end))
    assert (pick("request_body"),) == session.decided(DECISION)


@pytest.mark.parametrize("modes", [DUPLEX, BUFFERED, STREAMED])
def test_a_request_without_a_body_takes_the_same_path(modes: Modes) -> None:
    """GET /v1/models is decided like any other request, with an empty body."""
    session = Session(1000)
    assert (Decide(HEAD, b""),) == session.receive(headers(modes, end=True))
    assert [pick("request_headers")] == list(session.decided(DECISION))


def test_trailers_end_a_streamed_body() -> None:
    """Otherwise a request with trailers would wait for ever (upstream's W1)."""
    session = Session(1000)
    session.receive(headers())
    session.receive(RequestBody(b"grpc", end=False))
    assert (Decide(HEAD, b"grpc"),) == session.receive(RequestTrailers())
    assert [
        pick("request_headers"),
        PassBody("request_body", b"grpc", end=False),
        Acknowledge("request_trailers"),
    ] == plain(session.decided(DECISION))


def test_trailers_without_a_body_are_decided_too() -> None:
    """The pick travels as metadata with the reply to the trailers when nothing else is left to answer."""
    session = Session(1000)
    session.receive(headers(BUFFERED))
    assert (Decide(HEAD, b""),) == session.receive(RequestTrailers())
    assert (pick("request_trailers"),) == session.decided(DECISION)
    duplex = Session(1000)
    duplex.receive(headers())
    duplex.receive(RequestTrailers())
    assert [pick("request_headers"), Acknowledge("request_trailers")] == plain(duplex.decided(DECISION))


def test_an_empty_streamed_body_goes_back_as_one_empty_piece() -> None:
    """The proxy waits for a piece that ends the stream."""
    session = Session(1000)
    session.receive(headers())
    session.receive(RequestBody(b"", end=True))
    assert PassBody("request_body", b"", end=True) == plain(session.decided(DECISION))[1]


def test_a_proxy_that_streams_without_waiting_is_answered_at_the_headers() -> None:
    """In STREAMED mode the headers would be held until the reply, so the pick is made without the body."""
    session = Session(1000)
    assert (Decide(HEAD, None),) == session.receive(headers(STREAMED))
    assert (pick("request_headers"),) == session.decided(DECISION)
    assert (Acknowledge("request_body"),) == session.receive(RequestBody(b"late", end=True))


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_pieces_stay_below_the_proxys_limit_and_only_the_last_one_ends(size: int) -> None:
    """62,000 bytes make one piece, 62,001 two; nothing is lost."""
    session = Session(10 * PIECE_BYTES)
    session.receive(headers())
    session.receive(RequestBody(b"x" * size, end=True))
    pieces = [effect for effect in session.decided(DECISION) if isinstance(effect, PassBody)]
    assert -(-size // PIECE_BYTES) == len(pieces)
    assert size == sum(len(piece.data) for piece in pieces)
    assert [False] * (len(pieces) - 1) + [True] == [piece.end for piece in pieces]


def test_control_headers_of_the_client_are_removed() -> None:
    """What steers the picker is none of the model server's business (upstream's W3)."""
    head = Head("/", "POST", {"x-llm-d-inference-objective": "gold", "x-request-id": "1"})
    session = Session(1000)
    session.receive(headers(head=head))
    session.receive(RequestBody(b"{}", end=True))
    assert pick("request_headers", ("x-llm-d-inference-objective",)) == session.decided(DECISION)[0]


def test_other_gateways_get_one_endpoint_only() -> None:
    """An original-destination cluster cannot read an ordered list."""
    session = Session(1000, name_retries=False)
    session.receive(headers(end=True))
    sent = session.decided(DECISION)[0]
    assert isinstance(sent, SendPick)
    assert "10.0.0.1:8000" == sent.destination


def test_a_refusal_ends_the_exchange() -> None:
    """After an immediate answer the proxy sends nothing more but perhaps trailers."""
    session = Session(1000)
    session.receive(headers(end=True))
    refusal = NoEndpoints("none")
    assert (Refuse(refusal, path="/v1/chat/completions"),) == session.rejected(refusal)
    assert State.DONE is session.state
    with pytest.raises(ProtocolError, match="ResponseHeaders in state DONE"):
        session.receive(ResponseHeaders(200, end=True))


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_with_413(declared: bool) -> None:
    """At once when the length is declared, else as soon as the pieces add up to more."""
    head = Head("/", "POST", {"content-length": "1001"} if declared else {})
    session = Session(1000)
    effects = session.receive(headers(head=head))
    if not declared:
        assert () == effects
        assert () == session.receive(RequestBody(b"x" * 1000, end=False))
        effects = session.receive(RequestBody(b"x", end=False))
    (refused,) = effects
    assert isinstance(refused, Refuse)
    assert 413 == refused.rejected.status


def test_the_subset_hint_of_the_body_message_counts() -> None:
    """Upstream's proxies send it there."""
    session = Session(1000)
    session.receive(headers())
    (decide,) = session.receive(RequestBody(b"{}", end=True, subset=("10.0.0.2:8000",)))
    assert isinstance(decide, Decide)
    assert ("10.0.0.2:8000",) == decide.head.subset


def routed(modes: Modes = DUPLEX) -> Session:
    """Return a session whose pick was sent."""
    session = Session(1000)
    session.receive(headers(modes, end=True))
    session.decided(DECISION)
    return session


def test_an_answer_passes_piece_by_piece_and_its_end_is_told() -> None:
    """No piece is held back; the first one is noted; what it said of its tokens comes with the end."""
    session = routed()
    assert [Answered(200, "10.0.0.2:8000"), Acknowledge("response_headers")] == session.receive(
        ResponseHeaders(200, end=False, served_by="10.0.0.2:8000")
    )
    assert [FirstByte(), PassBody("response_body", b"a", end=False)] == session.receive(
        ResponseBody(b"a", end=False)
    )
    assert [PassBody("response_body", b"b", end=False)] == session.receive(ResponseBody(b"b", end=False))
    assert [Ended(NOTHING, 2), PassBody("response_body", b"", end=True)] == session.receive(
        ResponseBody(b"", end=True)
    )


@pytest.mark.parametrize(
    ("delivery", "served_by", "sent"),
    [
        (Delivery(answer_headers={"x-session-token": "t"}), "", {"x-session-token": "t"}),
        (Delivery(tell_served="x-by"), "10.0.0.2:8000", {"x-by": "10.0.0.2:8000"}),
        (Delivery(tell_served="x-by"), "", {"x-by": "fail: missing destination endpoint served metadata"}),
        (Delivery({"x-for-the-server": "s"}), "", None),
    ],
)
def test_what_the_client_is_to_know_goes_with_the_answers_headers(
    delivery: Delivery, served_by: str, sent: dict[str, str] | None
) -> None:
    """If the gateway shows us the answer; otherwise they pass as they are."""
    session = Session(1000)
    session.receive(headers(end=True))
    session.decided(msgspec.structs.replace(DECISION, delivery=delivery))
    reply = Acknowledge("response_headers") if sent is None else SetAnswerHeaders(sent)
    answer = ResponseHeaders(200, end=False, served_by=served_by)
    assert [Answered(200, served_by), reply] == session.receive(answer)


def test_a_rank_behind_another_port_is_sent_there_without_retries() -> None:
    """Whether the gateway understands ordered lists or not."""
    for name_retries in (True, False):
        session = Session(1000, name_retries=name_retries)
        session.receive(headers(end=True))
        delivery = Delivery(address="10.0.0.1:9000")
        (sent,) = session.decided(msgspec.structs.replace(DECISION, delivery=delivery))
        assert isinstance(sent, SendPick)
        assert sent.destination == "10.0.0.1:9000"


def test_an_answer_without_a_body_ends_with_its_headers() -> None:
    """204, 304 and answers to HEAD (upstream's W6)."""
    assert [Answered(204), Ended(NOTHING, 0), Acknowledge("response_headers")] == routed().receive(
        ResponseHeaders(204, end=True)
    )


def test_an_answer_with_trailers_ends_with_them_once() -> None:
    """The end is told once, also when the last piece of the body had ended the stream already."""
    session = routed()
    session.receive(ResponseHeaders(200, end=False))
    session.receive(ResponseBody(b"x", end=False))
    assert [Ended(NOTHING, 1), Acknowledge("response_trailers")] == session.receive(ResponseTrailers())
    assert [Acknowledge("response_trailers")] == session.receive(ResponseTrailers())


def test_a_buffered_answer_is_acknowledged_not_sent_back() -> None:
    """Only full duplex asks for the pieces back."""
    session = routed(Modes(BodyMode.BUFFERED, BodyMode.BUFFERED))
    session.receive(ResponseHeaders(200, end=False))
    assert [FirstByte(), Ended(NOTHING, 1), Acknowledge("response_body")] == session.receive(
        ResponseBody(b"x", end=True)
    )


def test_an_exchange_may_begin_with_the_answer() -> None:
    """Upstream's tests do, and a gateway that skips the request phase."""
    session = Session(1000)
    session.receive(ResponseHeaders(200, end=False, modes=BUFFERED))
    assert State.ANSWERING is session.state


USAGE = b'{"usage":{"prompt_tokens":10,"completion_tokens":2}}'
JSON = {"content-type": "application/json", "content-length": str(len(USAGE))}


@pytest.mark.parametrize(
    ("headers", "usage"),
    [
        ({}, Usage(10, 2)),
        (JSON, Usage(10, 2)),
        ({"content-type": "text/event-stream; charset=utf-8"}, Usage(10, 2)),
        ({"content-type": "text/plain"}, NOTHING),
        ({"content-type": "audio/wav"}, NOTHING),
        ({**JSON, "content-encoding": "gzip"}, NOTHING),
    ],
)
def test_tokens_are_read_from_answers_in_which_they_can_be(headers: dict[str, str], usage: Usage) -> None:
    """In plain text they would be what the model says, in compressed bytes chance."""
    session = routed()
    session.receive(ResponseHeaders(200, end=False, headers=headers))
    assert Ended(usage, len(USAGE)) == session.receive(ResponseBody(USAGE, end=True))[1]


def rewritten(modes: Modes = DUPLEX, model: str = "chat") -> Session:
    """Return a session whose request went on for the model `chat-v2`."""
    request = Request(HEAD, model=model, api="chat/completions", target_model="chat-v2")
    session = Session(1000)
    session.receive(headers(modes, end=True))
    session.decided(msgspec.structs.replace(DECISION, request=request))
    return session


ANSWER, SHOWN = b'{"model":"chat-v2","choices":[]}', b'{"model":"chat","choices":[]}'


def answered(session: Session, pieces: list[bytes], headers: dict[str, str]) -> tuple[list[object], bytes]:
    """Return the effects of an answer's headers, and the body that leaves."""
    begun = list(session.receive(ResponseHeaders(200, end=False, headers=headers)))
    effects: list[object] = []
    for piece in pieces:
        effects += session.receive(ResponseBody(piece, end=False))
    effects += session.receive(ResponseTrailers())
    return begun, b"".join(bytes(effect.data) for effect in effects if isinstance(effect, PassBody))


def test_a_rewritten_requests_answer_says_the_clients_name() -> None:
    """Its length changes, so the header that names it goes; usage and size are of what came."""
    begun, body = answered(rewritten(), [ANSWER[:12], ANSWER[12:]], JSON)
    assert SetAnswerHeaders({}, ("content-length",)) == begun[-1]
    assert body == SHOWN
    begun, body = answered(rewritten(), [ANSWER], {"content-type": "application/json"})
    assert Acknowledge("response_headers") == begun[-1]
    assert body == SHOWN


def test_what_is_held_back_of_a_name_leaves_with_the_trailers() -> None:
    """An answer that stops in the middle arrives as far as it came."""
    session = rewritten()
    session.receive(ResponseHeaders(200, end=False, headers=JSON))
    assert (
        PassBody("response_body", b'{"model":', end=False)
        == session.receive(ResponseBody(ANSWER[:15], end=False))[-1]
    )
    assert [] == session.receive(ResponseBody(b"-", end=False))
    assert PassBody("response_body", ANSWER[9:15] + b"-", end=False) == session.receive(ResponseTrailers())[1]


@pytest.mark.parametrize(
    ("session", "headers"),
    [
        (routed(), JSON),
        (rewritten(model=""), JSON),
        (rewritten(model="chat-v2"), JSON),
        (rewritten(), {**JSON, "content-encoding": "br"}),
        (rewritten(), {"content-type": "application/grpc"}),
        (rewritten(), {"content-type": "text/plain"}),
    ],
)
def test_other_answers_pass_as_they_are(session: Session, headers: dict[str, str]) -> None:
    """Without a rewrite, without a name to write back, compressed, or not JSON."""
    begun, body = answered(session, [ANSWER], headers)
    assert Acknowledge("response_headers") == begun[-1]
    assert body == ANSWER


def test_a_buffered_answer_is_replaced_and_a_streamed_one_left_alone() -> None:
    """Nothing can be held back of a piece that has to be replied to at once."""
    session = rewritten(Modes(BodyMode.BUFFERED, BodyMode.BUFFERED))
    session.receive(ResponseHeaders(200, end=False, headers=JSON))
    assert ReplaceBody(SHOWN) == session.receive(ResponseBody(ANSWER, end=True))[-1]
    session = rewritten(STREAMED)
    session.receive(ResponseHeaders(200, end=False, headers=JSON))
    assert Acknowledge("response_body") == session.receive(ResponseBody(ANSWER, end=True))[-1]


EVENTS: tuple[Event, ...] = (
    headers(), headers(end=True), RequestBody(b"b", end=False), RequestBody(b"e", end=True), RequestTrailers(),
    ResponseHeaders(200, end=False), ResponseHeaders(200, end=True), ResponseBody(b"r", end=False),
    ResponseBody(b"s", end=True), ResponseTrailers(),
)  # fmt: skip


def test_every_order_of_four_messages_is_answered_or_refused_but_never_breaks_the_session() -> None:
    """All 10,000 orders: an order that is not in the table is a protocol error, and no reply comes twice."""
    for order in itertools.product(EVENTS, repeat=4):
        session = Session(1000)
        replied: list[str] = []
        try:
            for event in order:
                effects = list(session.receive(event))
                if effects and isinstance(effects[0], Decide):
                    effects = list(session.decided(DECISION))
                replied += [effect.part for effect in effects if isinstance(effect, SendPick | Acknowledge)]
        except ProtocolError as error:
            assert f"in state {session.state.name}" in str(error)
        for part in ("request_headers", "response_headers"):
            assert replied.count(part) <= 1


def test_a_pick_nobody_waits_for_is_a_protocol_error() -> None:
    """It would be answered to a message that was not sent."""
    with pytest.raises(ProtocolError):
        Session(1000).decided(DECISION)


def cut(body: bytes, at: list[int]) -> list[bytes]:
    """Cut *body* at the given places."""
    places = sorted({place % (len(body) + 1) for place in at})
    return [body[a:b] for a, b in itertools.pairwise([0, *places, len(body)])]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.booleans(), st.booleans())
def test_how_a_body_is_cut_never_changes_what_is_decided_and_sent(
    body: bytes, at: list[int], trailers: bool, empty_end: bool
) -> None:
    """Pieces, empty ones too, with or without an empty last one or trailers: same body to the pick, same body back."""
    session = Session(1000)
    session.receive(headers())
    pieces = cut(body, at) + ([b""] if empty_end or trailers else [])
    effects: list[object] = []
    for index, piece in enumerate(pieces):
        effects += session.receive(RequestBody(piece, end=index == len(pieces) - 1 and not trailers))
    if trailers:
        effects += session.receive(RequestTrailers())
    assert [Decide(HEAD, body)] == effects
    sent = [effect for effect in plain(session.decided(DECISION)) if isinstance(effect, PassBody)]
    assert body == b"".join(bytes(piece.data) for piece in sent)
    assert (not trailers) == sent[-1].end


@given(
    st.binary(max_size=300) | st.just(b"data: " + USAGE + b"\n\n"), st.lists(st.integers(0, 300), max_size=8)
)
def test_how_an_answer_is_cut_never_changes_what_is_told_of_it(body: bytes, at: list[int]) -> None:
    """Neither its size nor its tokens depend on its pieces."""
    session = routed()
    session.receive(ResponseHeaders(200, end=False))
    effects: list[object] = []
    for piece in cut(body, at):
        effects += session.receive(ResponseBody(piece, end=False))
    effects += session.receive(ResponseBody(b"", end=True))
    usage = Usage(10, 2) if USAGE in body else NOTHING
    assert Ended(usage, len(body)) == effects[-2]
    assert (1 if body else 0) == sum(isinstance(effect, FirstByte) for effect in effects)
