"""One request of a workload: what the picker sees of it, and what a server makes of it."""

from __future__ import annotations

from igw.lab import content
from igw.lab.workload import Session, Turn
from igw.outcomes.ledger import REQUEST_ID
from igw.prefix.hashing import BYTES_PER_TOKEN
from igw.request import Head, Request
from igw.simulator.engine.sequence import Sequence

SESSION_ID = "x-session-id"
FAIRNESS_ID = "x-llm-d-inference-fairness-id"
_PATH = "/v1/chat/completions"


class Asked:
    """One request, made again for every attempt."""

    __slots__ = ("_block_tokens", "_sequences", "id", "session", "turn")

    def __init__(self, session: Session, turn: Turn, block_tokens: int, request_id: str) -> None:
        self.session = session
        self.turn = turn
        self.id = request_id
        self._block_tokens = block_tokens
        self._sequences: dict[int, Sequence] = {}

    def request(self, model: str, pool: str) -> Request:
        """Return what the gateway reads; the prompt's bytes are equal where the turns' blocks are."""
        session, prompt_bytes = self.session, self.turn.prompt_tokens * BYTES_PER_TOKEN
        model = session.adapter or model
        headers = {SESSION_ID: session.id, FAIRNESS_ID: session.tenant, REQUEST_ID: self.id}
        return Request(
            head=Head(_PATH, "POST", headers, pool),
            model=model,
            stream=True,
            prompt=content.prompt(self.turn, self._block_tokens),
            prompt_bytes=prompt_bytes,
            seed=f"{model}\0".encode(),
            body_bytes=prompt_bytes,
            fairness_id=session.tenant,
            priority=session.priority,
        )

    def sequence(self, block_size: int) -> Sequence:
        """Return what an engine with blocks of *block_size* tokens works on."""
        sequence = self._sequences.get(block_size)
        if sequence is None:
            session, turn = self.session, self.turn
            sequence = self._sequences[block_size] = Sequence(
                id=self.id,
                prompt_tokens=turn.prompt_tokens,
                output_tokens=turn.output_tokens,
                block_hashes=self._hashes(block_size),
                priority=-session.priority,
                adapter=session.adapter or None,
            )
        return sequence

    def _hashes(self, block_size: int) -> tuple[int, ...]:
        hashes = content.block_hashes(self.turn, self._block_tokens, block_size)
        if not self.session.adapter:
            return hashes
        # Another adapter's keys and values are others, and so are the names of its blocks.
        salt = int.from_bytes(self.session.adapter.encode(), "big") << 64
        return tuple(each + salt for each in hashes)
