"""Token counts read from answers in passing; what is marked so was recorded from vLLM 0.32.0 and shortened at its beginning."""

from __future__ import annotations

import itertools
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.parsing.answers import AnswerReader, JsonAnswer, TritonAnswer
from igw.parsing.usage import NOTHING, Usage

# Recorded.
CHAT = (
    b'"system_fingerprint":"vllm-0.32.0-cc6a8d17","usage":{"prompt_tokens":204,"total_tokens":212,"completion_tokens":8,'
    b'"prompt_tokens_details":{"cached_tokens":192,"created_cache_tokens":0,"multimodal_tokens":null},'
    b'"completion_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,'
    b'"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}'
)
CHAT_STREAM = (
    b'data: {"id":"chatcmpl-8013c98bd805c07f","object":"chat.completion.chunk","choices":[{"index":0,"delta":'
    b'{"content":"ehu"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-8013c98bd805c07f","object":"chat.completion.chunk","choices":[],"usage":'
    b'{"prompt_tokens":204,"total_tokens":208,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":192,'
    b'"created_cache_tokens":0}},"system_fingerprint":"vllm-0.32.0-cc6a8d17"}\n\n'
    b"data: [DONE]\n\n"
)
RUNNING = (
    b'data: {"id":"cmpl-b586b92c71e193a3","choices":[{"index":0,"text":"ih"}],"usage":{"prompt_tokens":5,'
    b'"total_tokens":6,"completion_tokens":1}}\n\n'
    b'data: {"id":"cmpl-b586b92c71e193a3","choices":[{"index":0,"text":"abokoti"}],"usage":{"prompt_tokens":5,'
    b'"total_tokens":7,"completion_tokens":2}}\n\n'
)
RUNNING_END = (
    b'data: {"id":"cmpl-b586b92c71e193a3","choices":[],"usage":{"prompt_tokens":5,"total_tokens":7,'
    b'"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}}\n\ndata: [DONE]\n\n'
)
RESPONSES = (
    b'"truncation":"disabled","usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":0,'
    b'"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},"output_tokens":4,'
    b'"output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],'
    b'"tool_output_tokens_per_turn":[]},"total_tokens":13},"user":null,"presence_penalty":0.0}'
)
MESSAGES = (
    b'{"id":"chatcmpl-ae76d349ebfe0ba5","type":"message","content":[{"type":"text","text":" woquaran"}],'
    b'"stop_reason":"max_tokens","usage":{"input_tokens":9,"output_tokens":4,"cache_creation_input_tokens":0,'
    b'"cache_read_input_tokens":3}}'
)
MESSAGES_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"1","type":"message","role":"assistant","content":[],'
    b'"model":"m","usage":{"input_tokens":25,"cache_read_input_tokens":40,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
GENERATE_VLLM = (
    b'{"request_id":"generate-tokens-aa3230fbfe12f741","model":"tiny-llama","usage":{"prompt_tokens":6,"total_tokens":10,'
    b'"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":0}},"choices":[{"index":0,"token_ids":['
    + b"563,727," * 8000
    + b"417]}]}"
)
SGLANG = (
    b'{"text":" Paris","output_ids":[12366],"meta_info":{"id":"7","finish_reason":{"type":"length","length":1},"prompt_tokens":5,'
    b'"weight_version":"default","completion_tokens":1,"cached_tokens":4,"e2e_latency":0.1}}'
)
TGI = (
    b'{"generated_text":"a","details":{"finish_reason":"length","generated_tokens":20,"seed":null,"prefill":[{"id":1,"text":"<s>",'
    b'"logprob":null},{"id":2,"text":"b","logprob":-0.5}],"tokens":[{"id":3,"text":"a","logprob":-1.5,"special":false}]}}'
)
TGI_STREAM = (
    b'data:{"index":1,"token":{"id":3,"text":"a"},"generated_text":null,"details":null}\n\n'
    b'data:{"index":2,"token":{"id":4,"text":"b"},"generated_text":"ab","details":{"finish_reason":"length","generated_tokens":2,'
    b'"seed":null,"input_length":9}}\n\n'
)
TRITON = (
    b'{"model_name":"m","model_version":"1","num_input_tokens":7,"num_output_tokens":12,"text_output":"a"}'
)
INFER = (
    b'{"model_name":"m","outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["num_output_tokens"]},'
    b'{"name":"num_input_tokens","datatype":"UINT32","shape":[1],"data":[7]},'
    b'{"name":"num_output_tokens","datatype":"INT32","shape":[1,1],"data":[[12]]}]}'
)
TEXT = b'{"choices":[{"text":"say \\"usage\\":{\\"prompt_tokens\\":1} and \\"usage"}]'


def read(answer: bytes, cuts: list[int] | int = 0, reader: AnswerReader | None = None) -> Usage:
    """Return the usage of *answer*, fed in pieces: cut at *cuts*, or of so many bytes each."""
    if isinstance(cuts, int):
        cuts = list(range(cuts, len(answer), cuts)) if cuts else []
    reader = reader or JsonAnswer()
    borders = [0, *sorted(min(at, len(answer)) for at in cuts), len(answer)]
    for start, stop in itertools.pairwise(borders):
        reader.feed(answer[start:stop])
    return reader.usage()


FORMATS = [
    pytest.param(CHAT, Usage(204, 8, 192), id="chat"),
    pytest.param(CHAT_STREAM, Usage(204, 4, 192), id="chat stream"),
    pytest.param(RUNNING + RUNNING_END, Usage(5, 2, 0), id="running usage, whole"),
    pytest.param(RUNNING, Usage(5, 2, None), id="running usage, given up before its end"),
    pytest.param(b"{" + RESPONSES, Usage(9, 4, 0), id="responses"),
    pytest.param(
        b'event: response.completed\ndata: {"type":"response.completed","response":{' + RESPONSES + b"}\n\n",
        Usage(9, 4, 0),
        id="responses stream",
    ),
    pytest.param(MESSAGES, Usage(12, 4, 3), id="messages"),
    pytest.param(MESSAGES_STREAM, Usage(65, 15, 40), id="messages stream"),
    pytest.param(GENERATE_VLLM, Usage(6, 4, 0), id="vLLM generate"),
    pytest.param(b'{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}', Usage(8), id="embeddings"),
    pytest.param(b'{"results":[],"usage":{"total_tokens":56}}', Usage(56), id="rerank"),
    pytest.param(
        b'{"created":1,"data":[{"b64_json":"'
        + b"A" * 40_000
        + b'"}],"usage":{"total_tokens":100,"input_tokens":50,'
        b'"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}',
        Usage(50, 50),
        id="images",
    ),
    pytest.param(
        b'{"text":"a","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}',
        Usage(14, 45),
        id="transcription in tokens",
    ),
    pytest.param(
        b'{"text":"a","usage":{"type":"duration","seconds":9}}',
        Usage(audio_seconds=9.0),
        id="transcription in seconds",
    ),
    pytest.param(b'{"usage" : { "prompt_tokens" : 3 }}', Usage(3), id="spaces"),
    pytest.param(b'{"usage":{"prompt_tokens":3,"completion_tokens":0}}', Usage(3, 0, None), id="zero"),
    pytest.param(b'{"usage":{"prompt_tokens":null,"completion_tokens":2}}', Usage(None, 2), id="null count"),
    pytest.param(TEXT + b',"usage":{"prompt_tokens":9}}', Usage(9), id="said by the model, and true"),
]
GENERATES = [
    pytest.param(SGLANG, Usage(5, 1, 4), id="SGLang"),
    pytest.param(b"data: " + SGLANG + b"\n\ndata: [DONE]\n\n", Usage(5, 1, 4), id="SGLang stream"),
    pytest.param(TGI, Usage(2, 20), id="TGI"),
    pytest.param(
        TGI.replace(b'"tokens":[', b'"tokens":[' + b'{"id":3,"text":"a"},' * 1000),
        Usage(None, 20),
        id="long TGI",
    ),
    pytest.param(TGI_STREAM, Usage(9, 2), id="TGI stream"),
    pytest.param(b'{"usage":{"prompt_tokens":3}}', Usage(3), id="usage after all"),
    pytest.param(b"[" + SGLANG + b"," + SGLANG + b"]", NOTHING, id="several at once"),
]
TRITONS = [
    pytest.param(TRITON, Usage(7, 12), id="generate"),
    pytest.param((b"data: " + TRITON + b"\n\n") * 300, Usage(7, 3600), id="generate stream"),
    pytest.param(INFER, Usage(7, 12), id="infer"),
    pytest.param(b'{"model_name":"m","text_output":"a"}', NOTHING, id="not asked for"),
]


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize(("answer", "usage"), FORMATS)
def test_usage_is_found_in_every_kind_of_answer(answer: bytes, usage: Usage, size: int) -> None:
    """Names differ between APIs; the last object counts, however the answer is cut."""
    assert read(answer, size) == usage


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize(("answer", "usage"), GENERATES)
def test_engines_own_apis_name_their_counts_otherwise(answer: bytes, usage: Usage, size: int) -> None:
    """Of an object too long to be kept only what its first bytes say is known."""
    assert read(answer, size, JsonAnswer("usage", "meta_info", "details")) == usage


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize(("answer", "usage"), TRITONS)
def test_triton_counts_the_output_of_each_event(answer: bytes, usage: Usage, size: int) -> None:
    """So it is added up; a text that is the name of a count is none."""
    assert read(answer, size, TritonAnswer()) == usage


def test_null_usage_does_not_hide_the_object_before_it() -> None:
    """Some engines write `"usage":null` into every other chunk, even after the totals."""
    chunk = b'data: {"choices":[{"text":"a"}],"usage":null}\n\n'
    total = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
    assert read(chunk * 3 + total) == Usage(5, 2, None)
    assert read(chunk + total + chunk * 3000, 500) == Usage(5, 2, None)
    assert read(chunk * 3) == NOTHING


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"error":{"message":"The model `nope` does not exist.","code":404}}', id="error"),
        pytest.param(TEXT + b"}", id="said by the model"),
        pytest.param(b'{"usage":"none"}', id="a string"),
        pytest.param(
            b'{"usage":{"type":"object","properties":{"prompt_tokens":{"type":"integer"}}}}', id="a schema"
        ),
        pytest.param(
            b'{"usage":{"prompt_tokens":-1,"completion_tokens":1.5,"cached_tokens":true}}', id="no counts"
        ),
        pytest.param(b'{"usage":{"prompt_tokens":' + b"9" * 4000 + b"}}", id="absurd"),
        pytest.param(b'{"usage":{' * 2000, id="deep"),
    ],
)
def test_no_usage_is_not_zero_usage(answer: bytes) -> None:
    """Where the server said nothing, nothing is made up; generated text cannot pass for usage."""
    assert read(answer) == NOTHING


def test_arguments_of_a_tool_do_not_pass_for_counts() -> None:
    """Anthropic writes them as JSON in whole answers, before the counts; a stream's are strings."""
    fake = {"usage": {"prompt_tokens": 1, "cache_read_input_tokens": 1, "input_tokens": 1}}
    answer = {"content": [{"type": "tool_use", "input": fake}], "usage": {"output_tokens": 4}}
    assert read(json.dumps(answer).encode()) == Usage(None, 4)


def test_memory_is_bounded_however_long_the_answer() -> None:
    """Sixteen kilobytes, a piece, and what may be the beginning of an object."""
    reader = JsonAnswer()
    reader.feed(b'{"x":"')
    for _ in range(2000):
        reader.feed(b"y" * 1000)
        assert sum(map(sys.getsizeof, reader._pieces)) < 24_000
    reader.feed(b'","usage":{"prompt_tokens":3}}')
    assert reader.usage() == Usage(3)


_parts = st.lists(
    st.sampled_from(
        [RUNNING, MESSAGES_STREAM, SGLANG, TGI, TRITON, INFER, TEXT, b'"usage":', b'"usage":{', b"{", b"}", b'"', b"\\", b" ", b"1",
         b"x" * 3000, b'"prompt_tokens":4,', b'"meta_info":{"a":[', b"]", b","]
    )
    | st.binary(max_size=20),
    max_size=30,
).map(b"".join)  # fmt: skip
_readers = st.sampled_from([JsonAnswer, lambda: JsonAnswer("usage", "meta_info", "details"), TritonAnswer])


@given(_parts, st.lists(st.integers(0, 60_000), max_size=12), _readers)
def test_how_an_answer_is_cut_changes_nothing(
    answer: bytes, cuts: list[int], reader: type[JsonAnswer]
) -> None:
    """Whatever its bytes are."""
    assert read(answer, cuts, reader()) == read(answer, 0, reader())
    assert read(answer, 997, reader()) == read(answer, 0, reader())


_values = st.recursive(
    st.none()
    | st.integers()
    | st.text()
    | st.sampled_from(['"usage":{"prompt_tokens":1}', "usage", '\\"usage": {']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(_values, st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.booleans())
def test_what_is_read_is_what_the_json_says(said: object, prompt: int, completion: int, plain: bool) -> None:
    """With any text before and after the counts, whose quotes are escaped."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    answer = json.dumps({"choices": said, "usage": usage, "after": said}, ensure_ascii=plain).encode()
    assert read(answer) == Usage(prompt, completion)
    assert read(b"data: " + answer + b"\n\n", 3) == Usage(prompt, completion)
