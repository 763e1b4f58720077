"""What came in: one inference request, read once.

How its bytes are read is `parsing`; where it goes is `decision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Head(msgspec.Struct, frozen=True):
    """The request line and headers, with what the gateway says about them (ext_proc metadata)."""

    path: str
    method: str
    headers: Mapping[str, str]
    """Lower-case names; the last of duplicates wins. Read only: nothing here is sent back."""
    pool: str = ""
    """`namespace/name` of the pool the gateway chose; empty when the picker serves one pool only."""
    subset: tuple[str, ...] | None = None
    """Endpoints the gateway restricts the pick to (protocol 004's subset hint), or None for all."""


class Media(msgspec.Struct, frozen=True):
    """One image, video or sound of a prompt."""

    kind: str
    """`image`, `audio`, `video` or `document`."""
    hash: str
    """Of the content if the body holds it, else of the URL: equal hashes are the same medium."""
    tokens: int
    """Estimate of the tokens that take its place in the prompt."""
    size_bytes: int = 0
    """Of the content as it stands in the body; 0 for a URL."""


class Generation(msgspec.Struct, frozen=True):
    """Output other than text that a request asks for, so that its work can be weighed."""

    kind: str
    """`image`, `audio` or `video`; `transcript`: text, but of sound, so that its seconds say more of the work than any prompt."""
    units: float
    """How much work: megapixels times steps for images and videos (number of them included), seconds of sound for the others."""


class Request(msgspec.Struct, frozen=True):
    """One request as the picker needs it; the original bytes stay with the session."""

    head: Head
    model: str = ""
    """As the client wrote it; empty for bodies we do not understand and for requests without one."""
    stream: bool = False
    prompt: Sequence[memoryview] = ()
    """The prompt as bytes of the request's own body, in the order the engine renders them: tools, then messages.

    Two requests share a cached prefix about as far as these bytes are equal. Not slices of the body: token ids, in four bytes each, and what
    stands for a medium: its hash, repeated to four bytes for each of its tokens.
    """
    prompt_bytes: int = 0
    """Length of the prompt; it outlives the prompt itself, which is dropped once the pick is made."""
    seed: bytes = b""
    """What else must be equal for a cached prefix to be shared: model and cache salt."""
    body_bytes: int = 0
    body: bytes | bytearray = b""
    """As the client sent it, for those who ask a tokenizer; empty where its API is not known. Dropped with the prompt."""
    fairness_id: str = ""
    media: tuple[Media, ...] = ()
    """Images, videos and audio of the prompt, in order."""
    generation: Generation | None = None
    """What is asked for beside text."""
    api: str = ""
    """Last segments of the path of the API it belongs to (`chat/completions`); empty for bodies we do not understand."""
    model_value: memoryview | None = None
    """The value of `model` as it stands in the body (a JSON string has its quotes); None where it cannot be replaced. Dropped with the prompt.

    Empty where a JSON body lacks the field and its API needs it: then a rewrite says which model it is, or nobody does.
    """
    model_quoted: bool = True
    """Whether what takes the place of `model_value` must be a JSON string; False: the bare name, in a form."""
    target_model: str = ""
    """What the model server is asked for in `model`'s place; empty: the same."""
    rewritten_by: tuple[str, int] | None = None
    """Which rule said so: `namespace/name` of its InferenceModelRewrite and its number there; None: no rule did, perhaps a header."""
    max_output_tokens: int | None = None
    """The most that the client wants, by the API's own field; None where it does not say."""
    session: str = ""
    """What the body says of the conversation it belongs to (`previous_response_id`, `conversation`, `user` of none)."""
    has_tools: bool = False
    objective: str = ""
    """Name of the InferenceObjective that the client asks for; empty: none."""
    ttft_objective_seconds: float | None = None
    """What the client wants at most, by header."""
    tpot_objective_seconds: float | None = None
    """Likewise, per output token."""
    e2e_objective_seconds: float | None = None
    """Likewise, to the end of the answer."""
    conditional: bool = False
    """Only to be served where its prefix is cached (`Prefer: if-available`); else 412."""
    attributes: Mapping[str, str] = {}
    """What header processors found out about the request, by upstream's attribute keys (`agent-identity`)."""
    priority: int = 0
    """Of the request's objective; below 0 it may be shed when the pool is full."""

    @property
    def served_model(self) -> str:
        """The model that the server is asked for."""
        return self.target_model or self.model

    @property
    def prompt_tokens(self) -> int:
        """Estimated tokens of the prompt: four bytes each, upstream's rule without a tokenizer."""
        return self.prompt_bytes // 4


WITHOUT_BODY: Mapping[str, Any] = {"prompt": (), "model_value": None, "body": b""}
"""What is replaced of a request once it is decided: its body must not live as long as the answer."""
