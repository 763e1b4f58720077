"""Head and body -> `Request`: what every API has in common. What a body says is read by the API's own function."""

from __future__ import annotations

from igw.errors import BadRequest
from igw.parsing.api import Api, Body, Found
from igw.parsing.hidden_path import likely_path
from igw.parsing.limits import Limits, check
from igw.parsing.long_strings import LONG_BYTES, Short, shortened
from igw.parsing.media import may_have_media, with_media
from igw.parsing.registry import Apis
from igw.request import Head, Request


def read(head: Head, body: Body | None, apis: Apis = Apis()) -> Request:  # noqa: B008 (immutable)
    """Return the request made of *head* and *body*, by the API of *apis* that its path belongs to; no *body*: it is not shown to us.

    Raises:
        BadRequest: the body is not what the API asks for, or no parser claims the path and there is none for the rest.
    """
    # The newer name wins; the older is an alias that upstream still accepts.
    headers = head.headers
    fairness_id = headers.get("x-llm-d-inference-fairness-id") or headers.get(
        "x-gateway-inference-fairness-id", ""
    )
    path = head.path or likely_path(body or b"")
    api = apis.of(path) if body or head.method == "POST" else None
    if body is None:
        return Request(head, fairness_id=fairness_id, api=api.suffix if api is not None else "")
    if api is None:
        if apis.reads_all and body:
            raise BadRequest(f"no parser for {head.path.partition('?')[0]}")
        return Request(head, body_bytes=len(body), fairness_id=fairness_id)
    if api.json:
        found = _json(api, head, body, apis.limits)
    else:
        found = api.read(head, body)
        if found.contents:
            found = with_media(found, head, None, apis.limits.media)
    return Request(
        head=head,
        model=found.model,
        stream=found.stream,
        prompt=found.prompt,
        prompt_bytes=sum([part.nbytes for part in found.prompt]),
        seed=f"{found.model}\0{found.cache_salt}".encode(),
        body_bytes=len(body),
        body=body,
        fairness_id=fairness_id,
        media=found.media,
        generation=found.generation,
        api=api.suffix,
        model_value=found.model_value,
        model_quoted=found.model_quoted,
        max_output_tokens=found.max_output_tokens,
        session=found.session,
        has_tools=found.has_tools,
    )


def _json(api: Api, head: Head, body: Body, limits: Limits) -> Found:
    """Return what *body* says: decoded without its long strings, with the media in it."""
    short: Short | None = shortened(body) if len(body) > LONG_BYTES else None
    text = body if short is None else short.text
    if limits.depth or limits.keys:
        check(text, limits)
    found = api.read(head, text)
    if len(found.media) > limits.media:
        raise BadRequest(f"the request has more than {limits.media} images, videos, sounds and documents")
    # A list of content stands in a list of messages: one bracket means that there is none.
    lists = found.contents and text.find(b"[", text.find(b"[") + 1) >= 0
    if short is not None or (lists and may_have_media(text, found.contents)):
        return with_media(found, head, short, limits.media)
    return found
