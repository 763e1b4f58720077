"""The client's name for a model in the answers of another: that field and nothing else, however the answer is cut."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.parsing.model_writeback import ModelWriteback

TARGET, SHOWN = "llama-v2", 'my "model"'
QUOTED = json.dumps(SHOWN).encode()


def through(answer: bytes, cuts: list[int] | int = 0) -> bytes:
    """Return what leaves for *answer*, fed in pieces: cut at *cuts*, or of so many bytes each."""
    if isinstance(cuts, int):
        cuts = list(range(cuts, len(answer), cuts)) if cuts else []
    writeback = ModelWriteback(TARGET, SHOWN)
    borders = [0, *sorted(min(at, len(answer)) for at in cuts), len(answer)]
    pieces = [writeback.feed(answer[start:stop]) for start, stop in itertools.pairwise(borders)]
    return b"".join((*pieces, writeback.rest()))


CHAT = b'{"id":"1","model":"llama-v2","choices":[{"message":{"content":"I am \\"model\\":\\"llama-v2\\""}}]}'
CHUNK = b'data: {"id":"1","choices":[{"delta":{"content":"llama-v2"}}],"model":"llama-v2","usage":null}\n\n'
REPLACED = {
    "chat": CHAT,
    "spaces": b' \n{ "n" : 1.5e3 ,\n "model" \t:\n "llama-v2" }\n',
    "after the content": b'{"type":"message","content":[{"type":"text","text":"a}]\\\\"}],"model":"llama-v2","usage":{}}',
    "escaped": b'{"model":"llama\\u002dv2"}',
    "chat stream": CHUNK * 3 + b"data: [DONE]\n\n",
    "CRLF and comments": b": hi\r\n\r\nid: 1\r\ndata:" + CHUNK[5:-2] + b"\r\n\r\n" + CHUNK,
    "Anthropic's first event": b'event: message_start\ndata: {"type":"message_start","message":{"id":"1","model":"llama-v2"}}\n\n',
    "Responses": b'event: response.created\ndata: {"type":"response.created","response":{"id":"1","tools":[],"model":"llama-v2"}}\n\n',
    "a broken event before": b'data: {"id":"1","cho\n\n' + CHUNK,
    "a long text before": b'{"text":"' + b"\\\\\\n{" * 9000 + b'","model":"llama-v2"}',
    "embeddings before": b'{"data":[{"embedding":[' + b"0.25," * 9000 + b'1]}],"model":"llama-v2"}',
    "never closed": b'{"model":"llama-v2","choices":[',
}
KEPT = {
    "nothing": b"",
    "another model": b'{"model":"llama-v20"}',
    "no name": b'{"model":null,"x":{"model":"llama-v2"}}',
    "in a list": b'[{"model":"llama-v2"}]',
    "below": b'{"choices":[{"model":"llama-v2"}],"error":{"model":"llama-v2"}}',
    "below a message": b'{"message":{"content":[{"model":"llama-v2"}],"x":{"model":"llama-v2"}}}',
    "a tool's arguments": b'{"content":[{"type":"tool_use","input":{"model":"llama-v2","message":{"model":"llama-v2"}}}]}',
    "generated": b'data: {"delta":"\\"model\\":\\"llama-v2\\""}\n\n',
    "a value called so": b'{"a":"model","b":"llama-v2"}',
    "a key like it": b'{"Model":"llama-v2","model ":"llama-v2","\\u006dodel_":"llama-v2"}',
    "second line of data": b'data: {"choices":[\ndata: {"model":"llama-v2"}\ndata: ]}\n\n',
    "other fields of an event": b'event: {"model":"llama-v2"}\nid: {"model":"llama-v2"}\n\n',
    "plain text": b'model "model":"llama-v2"',
    "too long a name": b'{"model":"' + b"l" * 2000 + b'"}',
    "too long a key": b'{"' + b"k" * 2000 + b'":1,"x":2}',
    "cut in the name": b'{"model":"llama-v',
    "no JSON": b'{"model"}{"model":"llama-v2"}',
    "bad string": b'{"model":"\xff\\x"}',
}


@pytest.mark.parametrize("size", [0, 1, 3, 100])
@pytest.mark.parametrize("answer", REPLACED.values(), ids=REPLACED)
def test_the_clients_name_takes_the_place_of_the_targets(answer: bytes, size: int) -> None:
    """As a JSON string, and only as the value of the field."""
    name = rb'("model"\s*:\s*)"llama(?:-|\\u002d)v2"'
    assert through(answer, size) == re.sub(name, lambda found: found[1] + QUOTED, answer)


@pytest.mark.parametrize("size", [0, 1, 3, 100])
@pytest.mark.parametrize("answer", KEPT.values(), ids=KEPT)
def test_whatever_else_an_answer_says_is_left_alone(answer: bytes, size: int) -> None:
    """What a model wrote most of all."""
    assert through(answer, size) == answer


def test_only_an_unfinished_key_or_name_waits() -> None:
    """All of a text is on its way as soon as it came."""
    writeback = ModelWriteback(TARGET, SHOWN)
    for piece, passed in (
        (b'{"text":"one', b'{"text":"one'),
        (b" two \\", b" two "),
        (b'"three"', b'\\"three"'),
        (b',"mod', b""),
        (b'el":', b',"model":'),
        (b'"llama', b""),
        (b'-v2"', QUOTED),
        (b',"more":"', b',"more":"'),
    ):
        assert passed == writeback.feed(piece)


def test_a_stream_without_models_passes_event_by_event() -> None:
    """Nothing of it waits for what follows."""
    writeback = ModelWriteback(TARGET, SHOWN)
    for event in (b'event: ping\ndata: {"type":"ping"}\n\n', b"data: [DONE]\n\n", b": comment\n", b"data: {"):
        assert event == writeback.feed(event)


_texts = st.sampled_from(
    ["model", "llama-v2", "message", "response", "data:", "\n", '"model":"llama-v2"', "}", "x"]
) | st.text(max_size=4)
_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_objects = st.dictionaries(_texts, _json, max_size=5)
_cuts = st.lists(st.integers(0, 400), max_size=10)


def expected(said: dict[str, Any]) -> dict[str, Any]:
    """Return what is to become of an answer by the plain rule: the first name met, here or one step below."""
    shown = dict(said)
    for key, value in said.items():
        if key == "model" and isinstance(value, str):
            return {**shown, key: SHOWN} if value == TARGET else shown
        if key in ("message", "response") and isinstance(value, dict) and isinstance(value.get("model"), str):
            return {**shown, key: {**value, "model": SHOWN}} if value["model"] == TARGET else shown
    return shown


@given(_objects, _cuts, st.booleans(), st.sampled_from([None, 1]))
def test_an_answer_becomes_what_json_would_make_of_it(
    said: dict[str, Any], cuts: list[int], ascii_only: bool, indent: int | None
) -> None:
    """And outside of one string every byte is the same."""
    answer = json.dumps(said, ensure_ascii=ascii_only, indent=indent).encode()
    became = through(answer, cuts)
    assert json.loads(became) == expected(said)
    name = json.dumps(TARGET).encode()
    spliced = {
        answer[: at.start()] + QUOTED + answer[at.end() :] for at in re.finditer(re.escape(name), answer)
    }
    assert became in {answer} | spliced


@given(st.lists(_objects, max_size=4), _cuts, st.sampled_from([b"\n", b"\r\n"]))
def test_every_event_of_a_stream_becomes_what_json_would_make_of_it(
    events: list[dict[str, Any]], cuts: list[int], end: bytes
) -> None:
    """Whatever the others say."""
    answer = b"".join(b"data: " + json.dumps(event).encode() + end * 2 for event in events)
    became = [json.loads(line[6:]) for line in through(answer, cuts).splitlines() if line]
    assert became == [expected(event) for event in events]


_scraps = st.lists(
    st.sampled_from([b"data:", b"data: {", b"\n", b"\r\n", b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b'"model"', b'"model":', b'"llama-v2"',
                     b'{"model":"llama-v2"', b'"message":{', b" " * 700, b"x" * 700])
    | st.binary(max_size=8),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(_scraps, _cuts)
def test_any_bytes_pass_and_nothing_is_lost(answer: bytes, cuts: list[int]) -> None:
    """Where something was replaced it was the target's name, and below 1 KiB wait at any time."""
    became = through(answer, cuts)
    assert became == through(answer)
    assert became.replace(QUOTED, b'"llama-v2"') == answer.replace(QUOTED, b'"llama-v2"')
    writeback, passed = ModelWriteback(TARGET, SHOWN), 0
    for at in range(len(answer)):
        passed += len(writeback.feed(answer[at : at + 1]).replace(QUOTED, b'"llama-v2"'))
        assert at + 1 - passed <= 1024
