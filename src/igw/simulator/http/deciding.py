"""Which answer a call gets, decided before its first token is generated: a function of the call and of sizes alone.

How long it takes is the engine's business; how it is worded in JSON is in the modules of the APIs.
"""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Callable, Iterator

import msgspec

from igw.simulator.engine.sequence import FinishReason, Sequence
from igw.simulator.http.call import Call
from igw.simulator.http.errors import ApiError
from igw.simulator.text import TOKEN_BYTES, answer, cut_at_stop, natural_length, tokenize


class Choice(msgspec.Struct, frozen=True):
    """One answer to one prompt; a prompt has `n` of them.

    `pieces` has one text per token of the sequence; one that belongs to a stop string is empty. `tokens` are those of
    prompt and answer, whole. `first` marks the first choice of its prompt, the one whose prompt is counted.
    """

    index: int
    sequence: Sequence
    pieces: list[str]
    stop_reason: str | int | None
    tokens: array[int] = msgspec.field(default_factory=lambda: array("I"))
    first: bool = True

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


class Decider(msgspec.Struct, frozen=True):
    """What a server knows when it decides: its longest sequence in tokens, and how blocks are named.

    `hashes(tokens, adapter, salt)` returns the name of each full block; `told(sequence, tokens, salt)` the sequence with
    what somebody else wants to know of it.
    """

    max_sequence_tokens: int
    hashes: Callable[[array[int], str, str], tuple[int, ...]]
    told: Callable[[Sequence, array[int], str], Sequence] | None = None

    def choices(self, call: Call, adapter: str | None, *, every_token: bool) -> list[Choice]:
        """Return the answers of *call*, `n` to each prompt; ApiError 400 when a prompt or its answer is too long."""
        if call.max_tokens is not None and call.max_tokens > self.max_sequence_tokens:
            limit = self.max_sequence_tokens
            message = (
                f"max_tokens={call.max_tokens} cannot be greater than max_model_len={limit}. Please request fewer "
                f"output tokens. (parameter=max_tokens, value={call.max_tokens})"
            )
            raise ApiError(400, message, param="max_tokens")
        return list(self._each(call, adapter, every_token))

    def _each(self, call: Call, adapter: str | None, every_token: bool) -> Iterator[Choice]:
        for position, prompt in enumerate(call.prompts):
            for number in range(call.n):
                pieces, stop_reason, reason = self._answer(call, prompt, number)
                # Texts of stop strings are not shown, but their tokens were generated.
                tokens = prompt + tokenize(_generated(call, prompt, number, len(pieces)))
                sequence = Sequence(
                    # Clients repeat request ids, so the engine gets one of our own.
                    id=uuid.uuid4().hex,
                    prompt_tokens=len(prompt),
                    output_tokens=len(pieces),
                    block_hashes=self.hashes(tokens, adapter or "", call.cache_salt),
                    finish_reason=reason,
                    stream=every_token,
                    priority=call.priority,
                    adapter=adapter,
                )
                if self.told is not None:
                    sequence = self.told(sequence, tokens, call.cache_salt)
                yield Choice(
                    position * call.n + number, sequence, pieces, stop_reason, tokens, first=number == 0
                )

    def _answer(
        self, call: Call, prompt: array[int], number: int
    ) -> tuple[list[str], str | int | None, FinishReason]:
        count, reason = self._length(call, prompt, number)
        pieces = _cut(_generated(call, prompt, number, count))
        shown, stop_reason = cut_at_stop(
            pieces, call.stop, min_tokens=call.min_tokens, include=call.include_stop
        )
        at = _stop_token(pieces[: len(shown)], call)
        if at is not None:
            shown = [*pieces[:at], pieces[at] if call.include_stop else ""]
            return shown, tokenize(pieces[at])[0], "stop"
        return shown, stop_reason, reason if stop_reason is None else "stop"

    def _length(self, call: Call, prompt: array[int], number: int) -> tuple[int, FinishReason]:
        """Return how many tokens the answer has before stop strings and stop tokens, and why it would end there."""
        room = self.max_sequence_tokens - len(prompt)
        if room <= 0:
            message = (
                f"This model's maximum context length is {self.max_sequence_tokens} tokens. However, your request has "
                f"{len(prompt)} input tokens. Please reduce the length of the input messages."
            )
            raise ApiError(400, message, param="input_tokens")
        if call.said is not None:
            wanted = -(-len(call.said) // TOKEN_BYTES)
            limit = room if call.max_tokens is None else call.max_tokens
            return (wanted, "stop") if wanted <= limit else (limit, "length")
        if call.max_tokens is not None:
            return call.max_tokens, "length"
        wanted = max(natural_length(prompt, number), call.min_tokens)
        return (room, "length") if call.ignore_eos or wanted > room else (wanted, "stop")


def _generated(call: Call, prompt: array[int], number: int, tokens: int) -> str:
    if call.said is None:
        return "".join(answer(prompt, tokens, number))
    return call.said[: tokens * TOKEN_BYTES]


def _cut(text: str) -> list[str]:
    # One character is one byte here: words of ours are ASCII, and so is the JSON of `said`.
    return [text[start : start + TOKEN_BYTES] for start in range(0, len(text), TOKEN_BYTES)]


def _stop_token(pieces: list[str], call: Call) -> int | None:
    if not call.stop_token_ids:
        return None
    wanted = set(call.stop_token_ids)
    for index, piece in enumerate(pieces[call.min_tokens :], call.min_tokens):
        if piece and tokenize(piece)[0] in wanted:
            return index
    return None
