"""KServe's protocols: the model is in the path, tensors may be text, tokens, numbers or binary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igw.errors import BadRequest
from igw.parsing.kserve import model_in
from igw.parsing.reading import read
from tests.parsing.samples import asked, head, text


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v2/models/llama/infer", "llama"),
        ("/v2/models/llama/versions/3/generate", "llama"),
        ("/v2/models/a%2Fb/generate_stream?x=/models/y", "a/b"),
        ("/v1/models/resnet:predict", "resnet"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemma@2:rawPredict", "gemma@2"),
        ("/v1/projects/p/locations/l/endpoints/17:predict", ""),
    ],
)
def test_the_path_names_the_model(path: str, model: str) -> None:
    """As the client wrote it, without a verb."""
    assert model_in(path) == model


@pytest.mark.parametrize(
    ("path", "fields", "most", "stream"),
    [
        ("/v2/models/m/generate", {"max_tokens": 4}, 4, False),
        ("/v2/models/m/generate", {"parameters": {"max_tokens": 5, "stream": True}}, 5, True),
        ("/v2/models/m/generate", {"max_tokens": 4, "stream": True}, 4, True),
        ("/v2/models/m/versions/1/generate_stream", {}, None, True),
    ],
)
def test_tritons_generate(path: str, fields: dict[str, Any], most: int | None, stream: bool) -> None:
    """With the parameters of either backend. A name in a path is not replaced."""
    request = asked(path, text_input="hi", **fields)
    assert (text(request), request.model, request.model_value) == (b'"hi', "m", None)
    assert (request.max_output_tokens, request.stream) == (most, stream)


def tensor(name: str, datatype: str, data: Any) -> dict[str, Any]:
    """Return one input."""
    return {"name": name, "shape": [1], "datatype": datatype, "data": data}


def test_tensors_of_text_and_of_tokens_are_a_prompt() -> None:
    """Others are numbers of which one may be the cap."""
    inputs = [
        tensor("text_input", "BYTES", ["hi"]),
        tensor("input_ids", "INT32", [[7, 8]]),
        tensor("request_output_len", "INT32", [[16]]),
        tensor("pixels", "FP32", [0.5] * 99),
    ]
    request = asked("/v2/models/m/infer", inputs=inputs)
    assert text(request) == b'["hi"' + np.array([7, 8], np.uint32).tobytes()
    assert (request.model, request.max_output_tokens) == ("m", 16)


def test_binary_tensors_stand_behind_the_json() -> None:
    """A header says where; what is there is not looked at."""
    json = (
        b'{"inputs":[{"name":"pixels","shape":[4],"datatype":"FP32","parameters":{"binary_data_size":16}}]}'
    )
    request = read(
        head("/v2/models/m/infer", inference_header_content_length=str(len(json))), json + b'\0"{[' * 4
    )
    assert (request.model, request.prompt) == ("m", ())
    for wrong in ("x", "-1", "9999", "²"):
        with pytest.raises(BadRequest, match="inference-header-content-length"):
            read(head("/v2/models/m/infer", inference_header_content_length=wrong), json)


def test_a_file_in_a_tensor_is_no_prompt() -> None:
    """A string of more than a mebibyte is no text that a model reads."""
    request = asked("/v2/models/m/infer", inputs=[tensor("image", "BYTES", ["A" * (1 << 20)])])
    assert request.prompt == ()


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/v2/models/m/generate", {}, "`text_input` not found"),
        ("/v2/models/m/infer", {}, "missing required field `inputs`"),
        ("/v2/models/m/infer", {"inputs": [{}]}, "missing required field `name`"),
        ("/v1/models/m:predict", {}, "`instances` not found"),
    ],
)
def test_what_is_missing_is_named(path: str, fields: dict[str, Any], said: str) -> None:
    """As 400."""
    with pytest.raises(BadRequest, match=said):
        asked(path, **fields)
