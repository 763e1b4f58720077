"""Requests that follow one another in one conversation -> turns whose answers are found again in the next prompt.

Reading the formats that hold such conversations is in `claude_code` and `agent_sessions`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from igw.lab import blocks
from igw.lab.workload import Runs, Turn


class Asked(msgspec.Struct, frozen=True):
    """One request as a trace has it: `runs` names the full blocks of its prompt."""

    prompt_tokens: int
    output_tokens: int
    runs: Runs
    think_seconds: float = 0.0


def turns(asked: Sequence[Asked], block_tokens: int, fresh: blocks.Fresh) -> list[Turn]:
    """Return one turn per request, with an id for every started block.

    Where the next prompt begins with the whole of this one, what follows in it is taken to be this answer, so the full blocks of the
    answer get the ids that the next prompt has there. All else gets ids of its own. An answer or a prompt of no tokens is taken as one token.
    """
    made = []
    for request, following in zip(asked, [*asked[1:], None], strict=True):
        prompt_tokens, output_tokens = max(1, request.prompt_tokens), max(1, request.output_tokens)
        known = blocks.size(request.runs)
        answer: Runs = ()
        if following is not None and known and blocks.common(request.runs, following.runs) == known:
            answer = blocks.between(following.runs, known, (prompt_tokens + output_tokens) // block_tokens)
        missing = blocks.started(prompt_tokens + output_tokens, block_tokens) - known - blocks.size(answer)
        runs = blocks.joined(request.runs + answer + fresh.take(missing))
        made.append(Turn(prompt_tokens, output_tokens, runs, request.think_seconds))
    return made
