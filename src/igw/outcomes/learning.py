"""What an outcome teaches of work: how long prefill and decoding took, and that what was promised is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from igw.decision import Decision
from igw.outcomes.outcome import End, Outcome
from igw.work.promises import Answer, Promises


class Learning:
    """A ledger listener. *promises* yields those of every pool: a pool may have another name by now, a decision has not."""

    def __init__(self, promises: Callable[[], Iterable[Promises]], clock: Callable[[], float]) -> None:
        self._promises = promises
        self._clock = clock

    def started(self, decision: Decision) -> None:
        """Note that the first token of a streamed answer was seen; the first byte of one in one piece says nothing."""
        if decision.request.stream:
            now = self._clock()
            for promises in self._promises():
                promises.start(decision.id, now)

    def __call__(self, decision: Decision, outcome: Outcome) -> None:
        """Take the lesson of one outcome."""
        answer, now = _answer(decision, outcome), self._clock()
        for promises in self._promises():
            if decision.request.generation is None:
                promises.end(decision.id, now, answer)
            else:
                # Its time says how long pictures or sound take, and nothing of text.
                promises.end(decision.id, now)
                promises.generating.end(decision.id, now, None if answer is None else answer.e2e_seconds)


def _answer(decision: Decision, outcome: Outcome) -> Answer | None:
    """Return what the picked endpoint did; None if it was not the one that answered, or not the whole answer was seen."""
    usage, e2e = outcome.usage, outcome.duration_seconds
    whole = outcome.end is End.COMPLETE and outcome.status < 400 and e2e is not None
    if not whole or e2e is None or decision.server(outcome.served_by) != decision.endpoint.hostport:
        return None
    share = None
    if usage.prompt_tokens:
        # Engines that say nothing of their cache may have none or be silent: what was believed stands then.
        share = None if usage.cached_tokens is None else 1.0 - usage.cached_tokens / usage.prompt_tokens
    # What it fetched it did not compute: that time says nothing of prefill.
    waited = decision.waited_seconds + (decision.fetch.seconds if decision.fetch is not None else 0.0)
    ttft = outcome.ttft_seconds if decision.request.stream else None
    return Answer(
        e2e_seconds=max(0.0, e2e - waited),
        output_tokens=usage.completion_tokens or 0,
        ttft_seconds=None if ttft is None else max(0.0, ttft - waited),
        uncached_share=share,
        model=decision.request.served_model,
    )
