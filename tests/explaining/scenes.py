"""A router that is watched: requests are decided, end, and are asked about. Times are numbers."""

from __future__ import annotations

from typing import Any

import msgspec

from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.explaining.explanation import Explanation, explained
from igw.explaining.recorder import Recorder
from igw.explaining.settings import Settings
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.parsing.usage import Usage
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools
from igw.routing.router import Router
from igw.scheduling import builtin
from igw.scheduling.scheduler import Scheduler

SECRET = "nobody may read this"


def endpoints(count: int) -> tuple[Endpoint, ...]:
    """Return so many."""
    return tuple(Endpoint.at(f"10.0.{n // 250}.{n % 250}", 8000, f"vllm-{n}") for n in range(count))


def chat(text: str = "", request_id: str = "", *, stream: bool = True, **fields: Any) -> Request:
    """Return a chat request."""
    messages = [{"role": "user", "content": SECRET + text}]
    body = msgspec.json.encode({"model": "m", "stream": stream, "messages": messages})
    headers = {"authorization": SECRET} | ({"x-request-id": request_id} if request_id else {})
    head = Head("/v1/chat/completions", "POST", headers, pool="default/p", **fields)
    return read(head, body)


class Scene:
    """One pool, its router, and a recorder that watches it."""

    def __init__(
        self, count: int = 3, settings: Settings | None = None, scheduler: Scheduler | None = None
    ) -> None:
        self.now = 100.0
        self.prefix, self.ledger = PrefixIndex(), Ledger(60)
        self.pools = Pools(self.prefix, self.ledger)
        self.pools.adopt({"default/p": Pool("p", "default", endpoints(count))})
        self.router = Router(
            self.pools, self.prefix, self.ledger, scheduler or builtin.default(), lambda: self.now
        )
        self.regrets: list[float] = []
        self.recorder = Recorder(
            settings or Settings(),
            lambda: self.now,
            lambda: self.router.scheduler,
            self.ledger.open_decisions,
            self.regrets.append,
        )
        self.router.watchers = (self.recorder.made,)
        self.ledger.listen(Learning(self.pools.promises, lambda: self.now))
        self.ledger.listen(self.recorder.ended)
        (self.columns,) = self.pools.all()

    async def sent(self, request: Request | None = None) -> Decision:
        """Return the decision for a request."""
        return await self.router.route(request or chat())

    def end(self, decision: Decision, **fields: Any) -> None:
        """End a request: whole, unless *fields* of its outcome say otherwise."""
        usage = Usage(
            fields.pop("prompt_tokens", None), fields.pop("completion_tokens", None), fields.pop("cached_tokens", None)
        )  # fmt: skip
        told = {"end": End.COMPLETE, "status": 200, "ttft_seconds": 0.2, "duration_seconds": 1.0} | fields
        self.ledger.close(decision.id, Outcome(usage=usage, **told))

    def asked(self, key: object) -> Explanation:
        """Return what is said of a decision."""
        return explained(self.recorder.find(str(key)), 1_000.0)
