"""What came in: one inference request, read once.

How its bytes are read is `parsing`; where it goes is `decision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class Request(msgspec.Struct, frozen=True):
    """One request as the picker needs it; the original bytes stay with the session."""

    head: Head
    model: str = ""
    """As the client wrote it; empty for bodies we do not understand and for requests without one."""
    stream: bool = False
    prompt: Sequence[memoryview] = ()
    """The prompt as bytes of the request's own body, in the order the engine renders them: tools, then messages.

    Two requests share a cached prefix about as far as these bytes are equal.
    """
    prompt_bytes: int = 0
    """Length of the prompt; it outlives the prompt itself, which is dropped once the pick is made."""
    seed: bytes = b""
    """What else must be equal for a cached prefix to be shared: model and cache salt."""
    body_bytes: int = 0
    fairness_id: str = ""
    media: tuple[tuple[str, int], ...] = ()
    """Images, videos and audio of the prompt as (hash of its content, size in tokens), in order."""
    attributes: Mapping[str, str] = {}
    """What header processors found out about the request, by upstream's attribute keys (`agent-identity`)."""
    priority: int = 0
    """Of the request's objective; below 0 it may be shed when the pool is full."""

    @property
    def prompt_tokens(self) -> int:
        """Estimated tokens of the prompt: four bytes each, upstream's rule without a tokenizer."""
        return self.prompt_bytes // 4
