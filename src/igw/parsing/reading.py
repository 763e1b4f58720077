"""Head and body -> `Request`: what every API has in common. What a body says is read by the API's own function."""

from __future__ import annotations

from igw.errors import BadRequest
from igw.parsing.api import Body
from igw.parsing.registry import Apis
from igw.request import Head, Request


def read(head: Head, body: Body, apis: Apis = Apis()) -> Request:  # noqa: B008 (immutable)
    """Return the request made of *head* and *body*, by the API of *apis* that its path belongs to.

    Raises:
        BadRequest: the body is not what the API asks for, or no parser claims the path and there is none for the rest.
    """
    # The newer name wins; the older is an alias that upstream still accepts.
    headers = head.headers
    fairness_id = headers.get("x-llm-d-inference-fairness-id") or headers.get(
        "x-gateway-inference-fairness-id", ""
    )
    api = apis.of(head.path) if body or head.method == "POST" else None
    if api is None:
        if apis.reads_all and body:
            raise BadRequest(f"no parser for {head.path.partition('?')[0]}")
        return Request(head, body_bytes=len(body), fairness_id=fairness_id)
    found = api.read(head, body)
    return Request(
        head=head,
        model=found.model,
        stream=found.stream,
        prompt=found.prompt,
        prompt_bytes=sum([part.nbytes for part in found.prompt]),
        seed=f"{found.model}\0{found.cache_salt}".encode(),
        body_bytes=len(body),
        fairness_id=fairness_id,
        media=found.media,
        generation=found.generation,
        api=api.suffix,
        model_value=found.model_value,
        max_output_tokens=found.max_output_tokens,
        session=found.session,
        has_tools=found.has_tools,
    )
