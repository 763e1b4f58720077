"""Usage at the end of answers; the snippets were recorded from vLLM 0.32.0 and shortened at their beginning."""

from __future__ import annotations

import pytest

from igw.parsing.usage import TAIL_BYTES, Usage, usage_in

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


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        pytest.param(CHAT, Usage(204, 8, 192), id="chat"),
        pytest.param(CHAT_STREAM, Usage(204, 4, 192), id="chat stream"),
        pytest.param(RUNNING + RUNNING_END, Usage(5, 2, 0), id="running usage, whole"),
        pytest.param(RUNNING, Usage(5, 2, None), id="running usage, given up before its end"),
        pytest.param(RESPONSES, Usage(9, 4, 0), id="responses"),
        pytest.param(
            b'event: response.completed\ndata: {"type":"response.completed","response":{'
            + RESPONSES
            + b"}\n\n",
            Usage(9, 4, 0),
            id="responses stream",
        ),
        pytest.param(MESSAGES, Usage(9, 4, 3), id="messages"),
        pytest.param(
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
            b'{"input_tokens":9,"output_tokens":4}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
            Usage(9, 4, None),
            id="messages stream",
        ),
        pytest.param(b'{"usage" : { "prompt_tokens" : 3 }}', Usage(3, None, None), id="spaces"),
        pytest.param(b'{"usage":{"prompt_tokens":3,"completion_tokens":0}}', Usage(3, 0, None), id="zero"),
        pytest.param(
            b'{"usage":{"prompt_tokens":null,"completion_tokens":2}}', Usage(None, 2, None), id="null count"
        ),
    ],
)
def test_usage_is_found_at_the_end_of_every_kind_of_answer(tail: bytes, usage: Usage) -> None:
    """Names differ between APIs; the last object counts, so running totals are right."""
    assert usage_in(tail) == usage


def test_null_usage_does_not_hide_the_object_before_it() -> None:
    """Some engines write `"usage":null` into every other chunk, even after the totals."""
    chunk = b'data: {"choices":[{"text":"a"}],"usage":null}\n\n'
    total = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
    assert usage_in(chunk * 3 + total) == Usage(5, 2, None)
    assert usage_in(chunk + total + chunk * 3) == Usage(5, 2, None)
    assert usage_in(chunk * 3) == Usage()


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"error":{"message":"The model `nope` does not exist.","code":404}}', id="error"),
        pytest.param(b'prompt_tokens":204,"completion_tokens":8}}', id="cut at the front"),
        pytest.param(
            b'{"choices":[{"text":"say \\"usage\\":{\\"prompt_tokens\\":1}"}]}', id="said by the model"
        ),
        pytest.param(b'{"usage":"none"}', id="a string"),
    ],
)
def test_no_usage_is_not_zero_usage(tail: bytes) -> None:
    """Where the server said nothing, nothing is made up; generated text cannot pass for usage."""
    assert usage_in(tail) == Usage()


def test_the_tail_holds_the_longest_recorded_ending() -> None:
    """What follows the usage in an answer must fit with it into the bytes that are kept."""
    assert all(len(tail) < TAIL_BYTES // 4 for tail in (CHAT, CHAT_STREAM, RESPONSES, MESSAGES))
