"""Reading bodies: every API at four sizes, and putting another model's name in, against `json.loads` of the same body.

`read_us` is what the picker does: the fields that matter, media found, long base64 put aside and hashed. `splice_us`: the body again with another model
in it, one copy. `loads_us`: `json.loads`, which a picker that decodes bodies as a whole pays before it knows anything.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from typing import Any

from igw.extproc.splice import spliced
from igw.parsing.long_strings import Arriving
from igw.parsing.reading import read
from igw.request import Head

SIZES = {"1 KB": 1 << 10, "32 KB": 32 << 10, "1 MB": 1 << 20, "20 MB": 20 << 20}
_PROSE = "the quick brown fox jumps over the lazy dog. " * 20 + """It is "quoting" [lists] and {maps}.\n"""
_PIECE_BYTES = 62_000
_SECONDS = 0.15


def best(work: Callable[[], Any]) -> float:
    """Return microseconds of CPU per call: the best of many, which noise can only make worse."""
    lowest, until = float("inf"), time.process_time() + _SECONDS
    while True:
        start = time.process_time()
        work()
        end = time.process_time()
        lowest = min(lowest, end - start)
        if end > until:
            return lowest * 1e6


def _prose(size: int) -> str:
    return (_PROSE * (size // len(_PROSE) + 1))[:size]


def _noise(size: int) -> str:
    return base64.b64encode(random.Random(2).randbytes(size * 3 // 4)).decode()


def _turns(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text[at : at + 2000]} for at in range(0, len(text), 2000)]


def _tokens(size: int) -> list[int]:
    return random.Random(3).choices(range(128_000), k=size // 8)


def _image(size: int) -> list[dict[str, Any]]:
    url = "data:image/png;base64," + _noise(size)
    blocks = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": blocks}]


BODIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "chat": ("/v1/chat/completions", lambda size: {"messages": _turns(_prose(size))}),
    "chat with an image": ("/v1/chat/completions", lambda size: {"messages": _image(size)}),
    "completions": ("/v1/completions", lambda size: {"prompt": _prose(size)}),
    "completions of tokens": ("/v1/completions", lambda size: {"prompt": _tokens(size)}),
    "responses": ("/v1/responses", lambda size: {"input": _turns(_prose(size))}),
    "embeddings": ("/v1/embeddings", lambda size: {"input": [_prose(size)]}),
    "rerank": ("/v1/rerank", lambda size: {"query": "q", "documents": [each["content"] for each in _turns(_prose(size))]}),
    "messages": ("/v1/messages", lambda size: {"messages": _turns(_prose(size)), "max_tokens": 9}),
    "vLLM generate": ("/inference/v1/generate", lambda size: {"token_ids": _tokens(size)}),
    "SGLang generate": ("/generate", lambda size: {"text": _prose(size)}),
    "TGI generate": ("/generate", lambda size: {"inputs": _prose(size)}),
    "Triton generate": ("/v2/models/m/generate", lambda size: {"text_input": _prose(size)}),
}  # fmt: skip


def bodies() -> list[dict[str, Any]]:
    """Return a row per API and size."""
    rows = []
    for case, (path, made) in BODIES.items():
        for size, length in SIZES.items():
            body = json.dumps({"model": "some-model", **made(length)}).encode()
            head = Head(path, "POST", {"content-type": "application/json"})
            request = read(head, body)
            row = {
                "case": case,
                "size": size,
                "read_us": best(lambda head=head, body=body: read(head, body)),
                "splice_us": None,
                "loads_us": best(lambda body=body: json.loads(body)),
            }
            if request.model_value is not None:
                row["splice_us"] = best(lambda body=body, request=request: spliced(body, request, "another"))
            rows.append(row)
    return [*rows, *_arriving()]


def _arriving() -> list[dict[str, Any]]:
    """Return what is left to do at the end of a large image that came in pieces, and what was done with each piece."""
    body = json.dumps({"model": "some-model", "messages": _image(SIZES["20 MB"])}).encode()
    pieces = [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)]
    head = Head("/v1/chat/completions", "POST", {"content-type": "application/json"})

    def arrived() -> Arriving:
        whole = Arriving(pieces[0])
        for piece in pieces[1:]:
            whole.add(piece)
        return whole

    def collected() -> bytearray:
        whole = bytearray(pieces[0])
        for piece in pieces[1:]:
            whole += piece
        return whole

    whole, plain = arrived(), collected()
    return [
        {"case": "the image in pieces: at its end", "size": "20 MB", "read_us": best(lambda: read(head, whole))},
        {"case": "collected first, looked at then", "size": "20 MB", "read_us": best(lambda: read(head, plain))},
        {"case": "a piece of it, looked at", "size": "62 KB", "read_us": best(arrived) / len(pieces)},
        {"case": "a piece of it, collected", "size": "62 KB", "read_us": best(collected) / len(pieces)},
    ]  # fmt: skip
