"""Bodies -> requests: tables per API, what is refused and how, and the law that makes conversations share prefixes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.parsing.reading import read
from igw.parsing.registry import PARSERS, Apis
from igw.prefix.hashing import block_hashes
from igw.request import Head, Request

CHAT = "/v1/chat/completions"


def head(path: str = CHAT, method: str = "POST", **headers: str) -> Head:
    """Return a head; underscores in header names stand for hyphens."""
    return Head(path, method, {name.replace("_", "-"): value for name, value in headers.items()})


def text(request: Request) -> bytes:
    """Return the prompt as one text."""
    return b"".join(bytes(part) for part in request.prompt)


@pytest.mark.parametrize(
    ("path", "body", "prompt"),
    [
        (
            CHAT,
            b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
            b'[{"role":"user","content":"hi"}',
        ),
        (CHAT, b'{"model":"m","messages":[1],"tools":[2]}', b"[2[1"),
        ("/v1/completions", b'{"model":"m","prompt":"once upon"}', b'"once upon'),
        ("/v1/completions", b'{"model":"m","prompt":[1,22,333]}', b"\1\0\0\0\x16\0\0\0\x4d\1\0\0"),
        ("/v1/completions", b'{"model":"m","prompt":[[1],[22,333]]}', b"\1\0\0\0\x16\0\0\0\x4d\1\0\0"),
        ("/v1/completions", b'{"model":"m","prompt":["a","b"]}', b'["a","b"'),
        ("/v1/responses", b'{"input":"q","model":"m"}', b'"q'),
        ("/v1/responses", b'{"input":[3],"tools":[2],"instructions":"be kind","model":"m"}', b'"be kind[2[3'),
        ("/v1/embeddings", b'{"model":"m","input":["a","b"]}', b'["a","b"'),
        ("/v1/messages", b'{"model":"m","messages":[3],"system":"s","tools":[1],"max_tokens":9}', b'[1"s[3'),
        ("/v1/messages", b'{"model":"m","messages":[3],"system":[{"type":"text"}]}', b'[{"type":"text"}[3'),
        (CHAT, b'{"model":"m","messages":[1],"tools":null}', b"[1"),
        (CHAT, b' { "model" : "m" , "messages" : [ 1 ] , "other" : {"messages":[7]} } ', b"[ 1 "),
        (CHAT, b'{"model":"m","messages":[1],"prompt":"not of this API"}', b"[1"),
    ],
)
def test_each_api_has_its_prompt(path: str, body: bytes, prompt: bytes) -> None:
    """What rarely changes comes first, without the byte that closes each part, wherever it stood in the body."""
    request = read(head(path), body)
    assert text(request) == prompt
    assert request.prompt_bytes == len(prompt)
    assert request.model == "m"
    assert request.body_bytes == len(body)


@pytest.mark.parametrize(
    ("body", "api"),
    [
        (b'{"model":"m","messages":[1]}', "chat/completions"),
        (b'{"model":"m","prompt":"p"}', "completions"),
        (b'{"model":"m","prompt":"p","messages":null}', "completions"),
        (b'{"model":"m","input":"i"}', ""),
        (b"[1]", ""),
        (b"{", ""),
    ],
)
def test_a_path_that_a_gateway_hides_is_guessed_by_the_prompt(body: bytes, api: str) -> None:
    """What could be several APIs is balanced unread, and a path that is there is believed."""
    assert read(head(""), body).api == api
    assert read(head("/unknown"), body).api == ""


@pytest.mark.parametrize(
    ("fields", "stream"),
    [({}, False), ({"stream": True}, True), ({"stream": False}, False), ({"stream": None}, False)],
)
def test_streaming_is_read(fields: dict[str, Any], stream: bool) -> None:
    """Null is the same as absent."""
    request = read(head(), json.dumps({"model": "m", "messages": [1], **fields}).encode())
    assert request.stream == stream


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a valid chat/completions request"),
        (b"{", "not a valid chat/completions request"),
        (b"hello", "not a valid chat/completions request"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"model":"m","messages":[1]} tail', "trailing characters"),
        (b'{"model":"m","messages":[1}', "not a valid chat/completions request"),
        (
            b'{"model":7,"messages":[1]}',
            "`model` in the request body is not a string: Expected `str`, got `int`",
        ),
        (b'{"model":"m","messages":[1],"stream":"yes"}', r"at `\$.stream`"),
        (b'{"model":"m","messages":[1],"cache_salt":5}', r"at `\$.cache_salt`"),
        (b'{"model":"m"}', "`messages` not found"),
        (b'{"model":"m","messages":null}', "`messages` not found"),
        (b'{"model":"m","prompt":"p"}', "`messages` not found in request body; chat/completions needs it"),
        (b'{"model":"\xff","messages":[1]}', "utf-8"),
        (b'{"model":"\\ud800","messages":[1]}', "hex escape"),
        (b'\xef\xbb\xbf{"model":"m","messages":[1]}', "not a valid chat/completions request"),
        (b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model":"m","x":' + b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_understood_is_the_clients_fault(body: bytes, said: str) -> None:
    """Every such body is a 400 with one sentence; none of them is an error of ours."""
    with pytest.raises(BadRequest, match=said) as caught:
        read(head(), body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"messages":[1]}', b""),
        (b'{"model":null,"messages":[1]}', b"null"),
        (b'{"model":"","messages":[1]}', b'""'),
    ],
)
def test_a_model_that_is_not_named_has_a_place_all_the_same(body: bytes, value: bytes) -> None:
    """A rewrite may put one there; without one it is an error of the router's. A long body has it too."""
    request = read(head(), body)
    assert (request.model, request.model_value) == ("", value)
    long = body.replace(b"[1]", b'[{"content":"' + b"A" * 20_000 + b'"}]')
    assert read(head(), long).model_value == value


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("/v1/completions", "prompt"),
        ("/v1/responses", "input"),
        ("/v1/embeddings", "input"),
        ("/v1/messages", "messages"),
    ],
)
def test_every_api_names_the_field_it_misses(path: str, missing: str) -> None:
    """The sentence says which field, so that the client can add it."""
    with pytest.raises(BadRequest, match=f"`{missing}` not found"):
        read(head(path), b'{"model":"m"}')


def test_of_a_body_that_is_not_shown_only_the_path_is_known() -> None:
    """Which says how its answer is read; it lacks nothing, whatever the API needs."""
    request = read(head("/v1/messages"), None)
    assert ("messages", "", None, 0) == (request.api, request.model, request.model_value, request.body_bytes)
    assert "" == read(head("/unknown"), None, Apis((PARSERS["openai-parser"],))).api


@given(st.binary(max_size=200))
def test_no_body_makes_the_reader_fall_over(body: bytes) -> None:
    """Law: any bytes are either a request or the client's fault."""
    try:
        request = read(head(), body)
    except BadRequest:
        return
    assert request.model


JSON_APIS = sorted(
    {api.suffix for parser in PARSERS.values() for api in parser.apis if api.json} | {"v2/models/*/infer"}
)
FIELDS = (
    "model", "messages", "prompt", "input", "items", "tools", "query", "documents", "text_1", "text_2", "inputs", "text",
    "input_ids", "token_ids", "features", "mm_hashes", "mm_placeholders", "image", "offset", "length", "text_input", "name",
    "datatype", "data", "instances", "parameters", "sampling_params", "max_tokens", "size", "n", "conversation", "id",
    "lora_path", "extra_key", "session_params", "content", "type", "image_url", "url", "source", "media_type", "system",
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 1 << 70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["BYTES", "A" * 20_000, "data:image/png;base64," + "A" * 20_000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("suffix", JSON_APIS)
@given(
    body=st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=8).map(
        lambda found: json.dumps(found).encode()
    )
)
@settings(max_examples=60, deadline=None)
def test_no_body_makes_any_reader_fall_over(suffix: str, body: bytes) -> None:
    """Law: for every API, any bytes are either a request that lies in them or the client's fault."""
    try:
        request = read(head("/" + suffix.replace("*", "x")), body)
    except BadRequest as refused:
        assert refused.message
        return
    assert request.api == suffix
    assert request.prompt_bytes == len(text(request))
    if request.model_value is not None:
        start, name = (np.frombuffer(view, np.uint8).ctypes.data for view in (body, request.model_value))
        assert body[name - start :].startswith(bytes(request.model_value))


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/v1/models", "GET", b""),
        ("/v1/audio/other", "POST", b"\x00\x01 not JSON"),
        ("/v1/responses", "GET", b""),
        ("", "POST", b"{}"),
    ],
)
def test_requests_of_no_api_are_not_read(path: str, method: str, body: bytes) -> None:
    """They are balanced all the same, with what the headers say."""
    request = read(head(path, method, x_llm_d_inference_fairness_id="team"), body)
    assert (request.model, request.prompt, request.prompt_bytes) == ("", (), 0)
    assert (request.fairness_id, request.body_bytes) == ("team", len(body))


def test_what_nobody_reads_is_refused_where_nobody_takes_the_rest() -> None:
    """Without a passthrough among the parsers; a request without a body still goes."""
    apis = Apis([PARSERS["openai-parser"]])
    with pytest.raises(BadRequest, match="no parser for /v1/messages"):
        read(head("/v1/messages?beta=true"), b"{}", apis)
    assert read(head("/v1/models", "GET"), b"", apis).model == ""


def test_a_post_without_a_body_is_refused() -> None:
    """An API that needs a body does not get balanced without one."""
    with pytest.raises(BadRequest):
        read(head(CHAT, "POST"), b"")


@pytest.mark.parametrize(
    ("headers", "fairness_id"),
    [
        ({}, ""),
        ({"x_gateway_inference_fairness_id": "old"}, "old"),
        ({"x_llm_d_inference_fairness_id": "new", "x_gateway_inference_fairness_id": "old"}, "new"),
        ({"x_llm_d_inference_fairness_id": "", "x_gateway_inference_fairness_id": "old"}, "old"),
    ],
)
def test_the_newer_header_wins_over_its_alias(headers: dict[str, str], fairness_id: str) -> None:
    """Both names of upstream are understood; an empty one counts as absent."""
    assert read(head(**headers), b'{"model":"m","messages":[1]}').fairness_id == fairness_id


def test_the_prompt_is_a_view_of_the_body() -> None:
    """Reading copies nothing: each part lies inside the bytes that came."""
    body = b'{"model":"m","tools":[2],"messages":[{"role":"user","content":"hello"}]}'
    start = np.frombuffer(body, dtype=np.uint8).ctypes.data
    for part in read(head(), body).prompt:
        offset = np.frombuffer(part, dtype=np.uint8).ctypes.data - start
        assert 0 <= offset < len(body)
        assert body[offset : offset + part.nbytes] == bytes(part)


def test_a_prefix_is_shared_within_one_model_and_one_salt() -> None:
    """Adapters have caches of their own, and so has who salts; the two cannot be confused."""

    def seed(**fields: str) -> bytes:
        return read(head(), json.dumps({"messages": [1], **fields}).encode()).seed

    seeds = {seed(model="a"), seed(model="b"), seed(model="a", cache_salt="s"), seed(model="as")}
    assert len(seeds) == 4
    assert seed(model="a") == seed(model="a", cache_salt="")


message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=400)}
)


@given(
    conversation=st.lists(message, min_size=1, max_size=6),
    more=st.lists(message, min_size=1, max_size=4),
    tools=st.none()
    | st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=300), max_size=3), max_size=2),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    ascii_only=st.booleans(),
)
def test_a_longer_conversation_extends_the_shorter_one(
    conversation: list[dict[str, str]],
    more: list[dict[str, str]],
    tools: list[dict[str, str]] | None,
    separators: tuple[str, str],
    ascii_only: bool,
) -> None:
    """Law: with turns appended, the same client's next request begins with every block of the one before."""

    def hashes(messages: list[dict[str, str]]) -> list[int]:
        fields = {"model": "m", "messages": messages, "tools": tools, "stream": True}
        body = json.dumps(fields, separators=separators, ensure_ascii=ascii_only)
        request = read(head(), body.encode("utf-8", "replace"))
        return block_hashes(request.seed, request.prompt)

    shorter, longer = hashes(conversation), hashes(conversation + more)
    assert longer[: len(shorter)] == shorter
