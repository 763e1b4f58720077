"""What a `GenerateRequest` asks for."""

from __future__ import annotations

from typing import Any

import pytest
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.simulator.http.errors import ApiError
from igw.simulator.rpc.reading import NOT_SIMULATED, read_generate
from igw.simulator.text import tokenize


def asked(**params: Any) -> pb.GenerateRequest:
    """Return a request with these sampling parameters."""
    return pb.GenerateRequest(text="Hello, you", sampling_params=pb.SamplingParams(**params))


def test_a_text_is_tokenized_and_ids_are_taken_as_they_are() -> None:
    """The same prompt in two forms."""
    ids = list(tokenize("Hello, you"))
    tokenized = pb.GenerateRequest(tokenized=pb.TokenizedInput(input_ids=ids, original_text="x"))
    assert read_generate(asked()).prompts == read_generate(tokenized).prompts == (tokenize("Hello, you"),)


def test_sampling_parameters_arrive() -> None:
    """Those that change an answer."""
    call = read_generate(
        asked(
            max_tokens=9,
            min_tokens=2,
            n=3,
            stop=["a", "b"],
            stop_token_ids=[7],
            ignore_eos=True,
            include_stop_str_in_output=True,
        )
    )
    assert (call.max_tokens, call.min_tokens, call.n) == (9, 2, 3)
    assert (call.stop, call.stop_token_ids) == (("a", "b"), (7,))
    assert (call.ignore_eos, call.include_stop, call.stream) == (True, True, False)


def test_what_is_unset_is_left_to_the_model() -> None:
    """One answer, as long as the model makes it."""
    call = read_generate(asked())
    assert (call.max_tokens, call.n) == (None, 1)


def test_a_prompt_can_be_truncated_to_its_end() -> None:
    """As in vLLM; -1 keeps what the model can take."""
    whole = tokenize("Hello, you")
    assert read_generate(asked(truncate_prompt_tokens=2)).prompts == (whole[-2:],)
    assert read_generate(asked(truncate_prompt_tokens=-1)).prompts == (whole,)


def test_json_can_be_asked_for() -> None:
    """The smallest that fits."""
    assert read_generate(asked(json_object=True)).said == "{}"
    schema = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'
    assert read_generate(asked(json_schema=schema)).said == '{"a":0}'


def test_transfer_parameters_are_json() -> None:
    """Those of vLLM's NIXL connector."""
    request = asked()
    request.kv_transfer_params_json = '{"do_remote_decode": true}'
    params = read_generate(request).kv_transfer_params
    assert params is not None
    assert params.do_remote_decode


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.GenerateRequest(), "Either tokenized or text"),
        (pb.GenerateRequest(text=""), "must not be empty"),
        (asked(max_tokens=0), "at least 1"),
        (asked(truncate_prompt_tokens=0), "truncate_prompt_tokens"),
        (asked(temperature=0.0, n=2), "greedy"),
        (pb.GenerateRequest(text="a", kv_transfer_params_json="{"), "kv_transfer_params_json"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(request_: pb.GenerateRequest, message: str) -> None:
    """Status 400, which becomes INVALID_ARGUMENT."""
    with pytest.raises(ApiError, match=message) as caught:
        read_generate(request_)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (asked(logprobs=1), "logprobs"),
        (asked(prompt_logprobs=1), "prompt_logprobs"),
        (asked(regex="a+"), "regex"),
        (asked(choice=pb.ChoiceConstraint(choices=["a"])), "choice"),
        (pb.GenerateRequest(text="a", mm_inputs=pb.MultimodalInputs()), "mm_inputs"),
        (pb.GenerateRequest(text="a", media_refs=pb.MediaRefs()), "media_refs"),
        (pb.GenerateRequest(text="a", kv_transfer_params=pb.KvTransferParams()), "kv_transfer_params"),
    ],
)
def test_what_is_not_simulated_is_refused_by_name(request_: pb.GenerateRequest, name: str) -> None:
    """Not ignored."""
    with pytest.raises(ApiError, match=f"^{name} is not simulated") as caught:
        read_generate(request_)
    assert caught.value.status == NOT_SIMULATED
