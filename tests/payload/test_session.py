"""Playbooks of the body-based router's session: events in, effects out, for every way in which a proxy sends bodies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.extproc.events import (
    PIECE_BYTES,
    Acknowledge,
    BodyMode,
    Event,
    Modes,
    PassBody,
    ProtocolError,
    Refuse,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from igw.payload.session import Answer, ListModels, RunChain, Session, SetHeaders
from igw.request import Head

DUPLEX, BUFFERED = Modes(), Modes(BodyMode.BUFFERED, BodyMode.NONE)
BLIND = [Modes(BodyMode.STREAMED, BodyMode.STREAMED), Modes(BodyMode.NONE, BodyMode.NONE)]
HEAD = Head("/v1/chat/completions", "POST", {"content-type": "application/json"})
UNSAID = {"x-model": None}
SAID = {"x-model": "llama"}


def session(most: int = 1_000_000, *, lists_models: bool = False) -> Session:
    return Session(UNSAID, most, lists_models=lists_models)


def headers(modes: Modes = DUPLEX, *, end: bool = False, head: Head = HEAD) -> RequestHeaders:
    return RequestHeaders(head, end, modes)


def with_length(length: int) -> Head:
    return Head(HEAD.path, "POST", {**HEAD.headers, "content-length": str(length)})


def plain(effects: Any) -> list[Any]:
    """Return effects with bodies as bytes, which compare."""
    return [
        PassBody(each.part, bytes(each.data), each.end) if isinstance(each, PassBody) else each
        for each in effects
    ]


def test_a_streamed_body_is_collected_and_sent_back_behind_the_headers() -> None:
    """Nothing is answered before its end; the length is said again, as the proxy forgets it."""
    one = session()
    head = with_length(7)
    assert () == one.receive(headers(head=head))
    assert () == one.receive(RequestBody(b"one ", end=False))
    assert (RunChain(head, b"one two"),) == one.receive(RequestBody(b"two", end=True))
    assert [
        SetHeaders("request_headers", {**SAID, "content-length": "7"}),
        PassBody("request_body", b"one two", end=True),
    ] == plain(one.changed(SAID))


def test_a_body_that_ends_with_trailers_is_processed_then() -> None:
    """The last piece does not say that it is the last one; the trailers go back too."""
    one = session()
    one.receive(headers())
    assert () == one.receive(RequestBody(b"{}", end=False))
    assert (RunChain(HEAD, b"{}"),) == one.receive(RequestTrailers())
    assert [
        SetHeaders("request_headers", SAID),
        PassBody("request_body", b"{}", end=False),
        Acknowledge("request_trailers"),
    ] == plain(one.changed(SAID))


def test_a_buffered_body_stays_with_the_proxy() -> None:
    """Only the headers are answered, with the body's message; and the body if a plugin changed it."""
    for changed, length in ((None, {}), (b"new", {"content-length": "3"})):
        one, head = session(), with_length(2)
        assert (Acknowledge("request_headers"),) == one.receive(headers(BUFFERED, head=head))
        assert (RunChain(head, b"{}"),) == one.receive(RequestBody(b"{}", end=True))
        assert (SetHeaders("request_body", {**SAID, **length}, changed),) == tuple(one.changed(SAID, changed))


def test_a_buffered_body_with_trailers_behind_it_is_whole() -> None:
    """The message does not say that it is the end."""
    one = session()
    one.receive(headers(BUFFERED))
    assert (RunChain(HEAD, b"{}"),) == one.receive(RequestBody(b"{}", end=False))
    one.changed(SAID)
    assert (Acknowledge("request_trailers"),) == one.receive(RequestTrailers())


def test_a_request_without_a_body_loses_what_a_client_said_in_our_headers() -> None:
    """Its route is chosen anew."""
    assert (SetHeaders("request_headers", UNSAID),) == session().receive(headers(end=True))


@pytest.mark.parametrize("modes", BLIND)
def test_where_the_body_comes_too_late_nothing_is_said(modes: Modes) -> None:
    """And nothing that a client said is believed."""
    one = session()
    assert (SetHeaders("request_headers", UNSAID),) == one.receive(headers(modes))
    assert (Acknowledge("request_body"),) == one.receive(RequestBody(b"{}", end=True))


def test_an_empty_body_says_nothing_and_goes_back_as_one_empty_piece() -> None:
    """The proxy waits for its end."""
    one = session()
    one.receive(headers())
    assert [
        SetHeaders("request_headers", UNSAID),
        PassBody("request_body", b"", end=True),
    ] == plain(one.receive(RequestBody(b"", end=True)))


@pytest.mark.parametrize("modes", [DUPLEX, BUFFERED])
def test_trailers_without_a_body_go_on(modes: Modes) -> None:
    """Nothing was said."""
    one = session()
    one.receive(headers(modes))
    *first, last = one.receive(RequestTrailers())
    assert last == Acknowledge("request_trailers")
    assert first == ([SetHeaders("request_headers", UNSAID)] if modes is DUPLEX else [])


@pytest.mark.parametrize("modes", [DUPLEX, BUFFERED])
def test_a_body_over_the_limit_is_refused(modes: Modes) -> None:
    """As soon as that is known: by its declared length, else by its pieces. One byte less passes."""
    declared = session(10).receive(headers(modes, head=with_length(11)))
    one = session(10)
    one.receive(headers(modes))
    counted = one.receive(RequestBody(b"x" * 11, end=True))
    for effects in (declared, counted):
        (refuse,) = effects
        assert isinstance(refuse, Refuse)
        assert refuse.rejected.status == 413
    fits = session(10)
    fits.receive(headers(modes, head=with_length(10)))
    assert isinstance(fits.receive(RequestBody(b"x" * 10, end=True))[0], RunChain)


@pytest.mark.parametrize("modes", [DUPLEX, BUFFERED])
def test_a_refusal_of_the_chain_is_the_answer(modes: Modes) -> None:
    """Nothing else follows."""
    one, no = session(), BadRequest("no")
    one.receive(headers(modes))
    one.receive(RequestBody(b"{", end=True))
    assert (Refuse(no, path=HEAD.path),) == one.rejected(no)


def test_a_grpc_client_is_refused_in_its_own_way() -> None:
    """It reads a status, not a body."""
    one, no = session(), BadRequest("no")
    one.receive(headers(head=Head("/a.B/C", "POST", {"content-type": "application/grpc+proto"})))
    assert (Refuse(no, grpc=True, path="/a.B/C"),) == one.rejected(no)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models", ""),
        ("/v1/models/", ""),
        ("/v1/models?limit=2", ""),
        ("/v1/models/a", "a"),
        ("/v1/models/meta/llama", "meta/llama"),
        ("/v1/models/a%2Fb%20c", "a/b c"),
    ],
)
def test_a_question_for_models_is_answered_here(path: str, model: str) -> None:
    """All of them, or one."""
    one = session(lists_models=True)
    assert (ListModels(model),) == one.receive(headers(end=True, head=Head(path, "GET", {})))
    assert (Answer(200, b"{}"),) == one.listed(200, b"{}")


@pytest.mark.parametrize(
    ("method", "path", "lists"),
    [
        ("POST", "/v1/models", True),
        ("GET", "/v1/modelsx", True),
        ("GET", "/x/v1/models", True),
        ("GET", "/v1/models", False),
    ],
)
def test_everything_else_passes(method: str, path: str, lists: bool) -> None:
    """And questions for models too where nobody knows them."""
    one = session(lists_models=lists)
    assert (SetHeaders("request_headers", UNSAID),) == one.receive(
        headers(end=True, head=Head(path, method, {}))
    )


def test_a_large_answer_passes_piece_by_piece() -> None:
    """Nothing of it is kept, however the proxy shows it."""
    one = session()
    one.receive(headers(end=True))
    assert (Acknowledge("response_headers"),) == one.receive(ResponseHeaders(200, end=False))
    for number in range(100):
        data = bytes([number]) * 60_000
        assert (PassBody("response_body", data, end=False),) == one.receive(ResponseBody(data, end=False))
    assert (Acknowledge("response_trailers"),) == one.receive(ResponseTrailers())
    other = session()
    other.receive(headers(BUFFERED, end=True))
    assert (Acknowledge("response_body"),) == other.receive(ResponseBody(b"x", end=True))


def test_an_exchange_may_begin_with_the_answer() -> None:
    """Some gateways show only that."""
    one = session()
    assert (Acknowledge("response_headers"),) == one.receive(
        ResponseHeaders(200, end=False, modes=Modes(BodyMode.NONE, BodyMode.STREAMED))
    )
    assert (Acknowledge("response_body"),) == one.receive(ResponseBody(b"x", end=True))


@pytest.mark.parametrize(
    "events",
    [
        [RequestBody(b"", end=True)],
        [RequestTrailers()],
        [headers(), headers()],
        [headers(), RequestBody(b"{}", end=True), RequestBody(b"{}", end=True)],
    ],
)
def test_a_proxy_that_breaks_the_order_is_told(events: list[Event]) -> None:
    """The exchange ends."""
    one = session()
    with pytest.raises(ProtocolError):
        for event in events:
            one.receive(event)


def test_changes_out_of_turn_are_a_fault() -> None:
    """Of ours."""
    with pytest.raises(ProtocolError):
        session().changed(SAID)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12), st.booleans())
def test_however_a_body_is_cut_the_chain_sees_it_whole(pieces: list[bytes], trailers: bool) -> None:
    """And it goes back byte for byte."""
    one, whole = session(), b"".join(pieces)
    one.receive(headers())
    effects: list[Any] = []
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        effects += one.receive(RequestBody(piece, end=last and not trailers))
    if trailers:
        effects += one.receive(RequestTrailers())
    if whole:
        assert effects == [RunChain(HEAD, whole)]
        effects = list(one.changed(SAID))
    assert isinstance(effects[0], SetHeaders)
    back = [each for each in effects if isinstance(each, PassBody)]
    assert b"".join(bytes(each.data) for each in back) == whole
    assert [each.end for each in back] == [False] * (len(back) - 1) + [not trailers]


@pytest.mark.parametrize(
    ("length", "pieces"),
    [
        (1, 1),
        (PIECE_BYTES - 1, 1),
        (PIECE_BYTES, 1),
        (PIECE_BYTES + 1, 2),
        (2 * PIECE_BYTES + 1000, 3),
    ],
)
def test_pieces_fit_into_a_message(length: int, pieces: int) -> None:
    """Upstream's boundary cases."""
    one, body = session(), bytes(range(256)) * (length // 256 + 1)
    one.receive(headers())
    one.receive(RequestBody(body[:length], end=True))
    _, *back = plain(one.changed(SAID))
    assert len(back) == pieces
    assert all(len(each.data) <= PIECE_BYTES for each in back)
    assert b"".join(each.data for each in back) == body[:length]
