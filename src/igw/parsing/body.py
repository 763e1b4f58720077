"""A JSON request body -> `Request`: one decode, no copy of the prompt, the original bytes untouched.

The prompt is not interpreted: its JSON text, as slices of the body, is what prefixes are compared by.
"""

from __future__ import annotations

import msgspec

from igw.errors import BadRequest
from igw.parsing.api import api_of
from igw.request import Head, Request


class Body(msgspec.Struct):
    """The top-level fields that matter for routing; everything else is skipped, not decoded."""

    model: str | None = None
    stream: bool | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    cache_salt: str | None = None


_NULL = memoryview(b"null")  # a Raw equals nothing, a view of it does

_decode = msgspec.json.Decoder(Body).decode


def read(head: Head, body: bytes | bytearray) -> Request:
    """Return the request made of *head* and *body*.

    Raises:
        BadRequest: not JSON, nested too deeply to be read, a field of the wrong type, no `model`, or the API's main field is missing.
    """
    # The newer name wins; the older is an alias that upstream still accepts.
    headers = head.headers
    fairness_id = headers.get("x-llm-d-inference-fairness-id") or headers.get(
        "x-gateway-inference-fairness-id", ""
    )
    api = api_of(head.path) if body or head.method == "POST" else None
    if api is None:
        return Request(head, body_bytes=len(body), fairness_id=fairness_id)
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request body is not a valid {api.suffix} request: {error}") from None
    except RecursionError:
        raise BadRequest(f"the request body is not a valid {api.suffix} request: nested too deeply") from None
    if not fields.model:
        raise BadRequest("model not found in request body")
    if not _present(getattr(fields, api.required)):
        raise BadRequest(f"`{api.required}` not found in request body; {api.suffix} needs it")
    # The last byte closes the array or string; leaving it out lets a longer conversation extend a shorter one.
    parts = [memoryview(raw)[:-1] for name in api.prompt if _present(raw := getattr(fields, name))]
    return Request(
        head=head,
        model=fields.model,
        stream=bool(fields.stream),
        prompt=parts,
        prompt_bytes=sum(part.nbytes for part in parts),
        seed=f"{fields.model}\0{fields.cache_salt or ''}".encode(),
        body_bytes=len(body),
        fairness_id=fairness_id,
    )


def _present(raw: msgspec.Raw) -> bool:
    return len(raw) > 0 and memoryview(raw) != _NULL
