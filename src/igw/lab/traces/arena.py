"""Requests of many clients as the VTC authors cut them from Chatbot Arena's logs.

Other formats have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import msgspec

from igw.lab import blocks
from igw.lab.traces.lines import Lines
from igw.lab.workload import Session, Turn

HEADER = ["t_s", "client", "prompt_tokens", "output_tokens"]


class Arena(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open loop: every request is a session of its client, who is the tenant, the adapter, or both (`client`).

    No prefixes are known, so no two requests share text.
    """

    block_tokens: ClassVar[int] = 512
    quantum_seconds: ClassVar[float] = 0.0

    client: Literal["tenant", "adapter", "both"] = "tenant"

    @classmethod
    def recognises(cls, first: str) -> bool:
        """By the header."""
        return first.split(",") == HEADER

    def sessions(self, lines: Lines) -> Iterator[Session]:
        """Yield one session a line; ConfigError for times that cannot be read or go back."""
        fresh, before = blocks.Fresh(), 0.0
        for at, client, prompt, output in lines.cells(HEADER):
            start_seconds = lines.seconds(at, "t_s")
            if start_seconds < before:
                raise lines.wrong(f"t_s {at} is before the one above", "sort the file by time")
            before = start_seconds
            prompt_tokens = max(1, lines.whole(prompt, "prompt_tokens"))
            output_tokens = max(1, lines.whole(output, "output_tokens"))
            runs = fresh.take(blocks.started(prompt_tokens + output_tokens, self.block_tokens))
            yield Session(
                f"request-{lines.number}",
                (Turn(prompt_tokens, output_tokens, runs),),
                start_seconds,
                tenant=client if self.client != "adapter" else "",
                adapter=client if self.client != "tenant" else "",
            )
