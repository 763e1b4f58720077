"""The shapes of answers, compared with those recorded from vLLM 0.32."""

from __future__ import annotations

import json
from typing import Any

from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.http.answers import FINGERPRINT, Choice, Chunks, Head, models, usage_chunk, whole

CHAT = Head(chat=True, id="chatcmpl-1", model="m", created=17, block_size=16)
TEXT = Head(chat=False, id="cmpl-1", model="m", created=17, block_size=16)
SEQUENCE = Sequence("x", prompt_tokens=40, output_tokens=2)
CHOICE = Choice(0, SEQUENCE, ["moda", " geb"], None)
FIRST, LAST = (Emission(SEQUENCE, 1, number, 32, 0.0) for number in (1, 2))


def events(raw: bytes) -> list[dict[str, Any]]:
    """The JSON of each event."""
    parts = raw.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_a_whole_chat_answer_has_every_field_of_vllm() -> None:
    """As recorded, values aside."""
    assert json.loads(whole(CHAT, [(CHOICE, LAST)])) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 17,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "moda geb",
                    "refusal": None,
                    "annotations": None,
                    "audio": None,
                    "function_call": None,
                    "reasoning": None,
                },
                "logprobs": None,
                "finish_reason": "length",
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
        ],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": {
            "prompt_tokens": 40,
            "total_tokens": 42,
            "completion_tokens": 2,
            "prompt_tokens_details": {
                "cached_tokens": 32,
                "created_cache_tokens": 0,
                "multimodal_tokens": None,
            },
            "completion_tokens_details": None,
        },
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def test_a_whole_completion_sums_the_usage_of_its_prompts() -> None:
    """One choice per prompt."""
    body = json.loads(whole(TEXT, [(CHOICE, LAST), (Choice(1, SEQUENCE, ["kuzo", ""], "x"), LAST)]))
    assert [(c["index"], c["text"], c["stop_reason"]) for c in body["choices"]] == [
        (0, "moda geb", None),
        (1, "kuzo", "x"),
    ]
    assert (body["object"], body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (
        "text_completion",
        80,
        84,
    )
    details = {"cached_tokens": 64, "created_cache_tokens": None, "multimodal_tokens": None}
    assert body["usage"]["prompt_tokens_details"] == details


def test_a_chat_stream_opens_with_the_role_and_ends_with_a_reason() -> None:
    """As recorded: the reason is in the chunk of the last token."""
    chunks = Chunks(CHAT, CHOICE, continuous_usage=False)
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 17, "model": "m"}
    role = {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }
    one = {
        "index": 0,
        "delta": {"content": "moda"},
        "logprobs": None,
        "finish_reason": None,
        "token_ids": None,
    }
    two = {
        "index": 0,
        "delta": {"content": " geb"},
        "logprobs": None,
        "finish_reason": "length",
        "token_ids": None,
    }
    assert events(chunks.token(FIRST) + chunks.token(LAST)) == [
        start | {"choices": [role], "prompt_token_ids": None, "prompt_text": None},
        start | {"choices": [one]},
        start | {"choices": [two | {"stop_reason": None}]},
    ]


def test_a_completion_stream_counts_along_when_asked() -> None:
    """As recorded with `continuous_usage_stats`."""
    chunks = Chunks(TEXT, CHOICE, continuous_usage=True)
    first, last = events(chunks.token(FIRST) + chunks.token(LAST))
    assert first["usage"] == {"prompt_tokens": 40, "total_tokens": 41, "completion_tokens": 1}
    assert last["usage"]["completion_tokens"] == 2
    assert last["choices"] == [
        {
            "index": 0,
            "text": " geb",
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
    ]


def test_the_usage_chunk_has_no_choices() -> None:
    """Chats also tell how much was added to the cache."""
    [chat] = events(usage_chunk(CHAT, [(CHOICE, LAST)]))
    assert chat["choices"] == []
    assert chat["usage"]["prompt_tokens_details"] == {"cached_tokens": 32, "created_cache_tokens": 0}
    assert chat["system_fingerprint"] == FINGERPRINT
    [text] = events(usage_chunk(TEXT, [(CHOICE, LAST)]))
    assert text["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}


def test_names_with_quotes_stay_json() -> None:
    """Only the words of the answer are put in unescaped."""
    head = Head(chat=True, id='a"b', model='c"d', created=1, block_size=16)
    role, _ = events(Chunks(head, CHOICE, continuous_usage=False).token(FIRST))
    assert (role["id"], role["model"]) == ('a"b', 'c"d')


def test_the_list_of_models_tells_the_longest_sequence() -> None:
    """On the card that vLLM writes."""
    [card] = json.loads(models("m", 17, 4096))["data"]
    assert (card["id"], card["owned_by"], card["max_model_len"], card["created"]) == ("m", "vllm", 4096, 17)
