"""Whether requests took no longer than they were to: by annotation, by header, with failures, aborts and refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from igw.config.slo import Slo
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import BadRequest, ClientLeft, QueueFull, Rejected
from igw.outcomes.attainment import Attainment
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Head, Request
from igw.telemetry.families import Families

POOL = "default/p"
SLOS = {POOL: {"": Slo(2.0, None, 20.0), "chat": Slo(0.5, 0.05, 20.0, 0.9)}}
REQUEST = Request(Head("/", "POST", {}, POOL), model="m", stream=True, objective="chat")
FAST = Outcome(
    End.COMPLETE, 200, ttft_seconds=0.2, duration_seconds=1.2, served_ttft_seconds=0.1,
    usage=Usage(completion_tokens=101),
)  # fmt: skip


class Judged:
    """Attainment on a clock that is set by hand."""

    def __init__(self) -> None:
        self.families, self.now = Families(), 1000.0
        self.attainment = Attainment(self.families, lambda: self.now, _named)
        self.attainment.use(SLOS, [POOL])
        self.families.collect_with(self.attainment.collect)

    def ends(
        self, outcome: Outcome, request: Request = REQUEST, *, waited: float = 0.0, ago: float = 0.0
    ) -> None:
        """End a request that was decided *ago* seconds."""
        endpoint = (Endpoint.at("10.0.0.1", 8000),)
        decided_at = self.now - ago
        self.attainment(Decision(1, request, endpoint, decided_at=decided_at, waited_seconds=waited), outcome)

    def results(self, of: str, objective: str = "chat") -> dict[str, int]:
        """Return how many requests had which result."""
        for line in self.attainment.page():
            if (line.objective, line.of) == (objective, of):
                return dict(line.requests)
        return {}

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample."""
        of = {"inference_pool": POOL, "objective": "chat", "model_name": "m"}
        return self.families.registry.get_sample_value(name, {**of, **labels})


def _named(request: Request) -> Request:
    return msgspec.structs.replace(request, objective=request.head.headers.get("objective", ""))


def with_times(outcome: Outcome = FAST, **times: Any) -> Outcome:
    """Return *outcome* with other times."""
    return msgspec.structs.replace(outcome, **times)


def test_a_fast_request_attains_all_that_is_wanted() -> None:
    """TPOT is 10 ms: (1.2 - 0.2) / 100."""
    judged = Judged()
    judged.ends(FAST)
    for of, share in (("ttft", 0.4), ("tpot", 0.2), ("e2e", 0.06)):
        assert judged.results(of) == {"attained": 1}
        assert judged.value("igw_slo_requests_total", of=of, result="attained") == 1
        assert judged.value("igw_slo_actual_to_objective_sum", of=of) == pytest.approx(share)
        assert judged.value("igw_slo_burn_rate", of=of, window="5m") == 0
        assert judged.value("igw_slo_budget_left_ratio", of=of) == 1
        assert judged.value("igw_slo_target_ratio", of=of) == 0.9


def test_a_late_request_says_where_its_time_went() -> None:
    """1 s in the queue, 0.3 s at the server: the queue is what is to blame."""
    judged = Judged()
    judged.ends(with_times(ttft_seconds=1.4, duration_seconds=2.4, served_ttft_seconds=0.3), waited=1.0)
    assert judged.results("ttft") == {"missed": 1}
    assert judged.results("e2e") == {"attained": 1}
    stages = {
        s: judged.value("igw_slo_missed_seconds_total", of="ttft", stage=s)
        for s in ("queue", "prefill", "routing")
    }
    assert stages == pytest.approx({"queue": 1.0, "prefill": 0.3, "routing": 0.1})
    (line,) = [each for each in judged.attainment.page() if each.of == "ttft"]
    assert line.missed_seconds["queue"] == 1.0
    violation = {
        "plugin_name": "slo-attainment",
        "plugin_type": "slo-attainment",
        "model_name": "m",
        "target_model_name": "m",
    }
    total = "llm_d_epp_request_slo_violation_total"
    assert judged.families.registry.get_sample_value(total, {**violation, "type": "ttft"}) == 1


def test_budgets_burn_by_window() -> None:
    """One miss in four burns two and a half times what 90 % allows; after an hour only the longest window knows."""
    judged = Judged()
    for ttft in (0.2, 0.2, 0.2, 0.9):
        judged.ends(with_times(ttft_seconds=ttft))
    for window in ("5m", "1h", "6h"):
        assert judged.value("igw_slo_burn_rate", of="ttft", window=window) == pytest.approx(2.5)
    assert judged.value("igw_slo_budget_left_ratio", of="ttft") == pytest.approx(-1.5)
    judged.now += 3700.0
    assert judged.value("igw_slo_burn_rate", of="ttft", window="1h") is None
    assert judged.value("igw_slo_burn_rate", of="ttft", window="6h") == pytest.approx(2.5)


def test_without_an_objective_of_its_own_a_request_is_judged_by_its_pool() -> None:
    """Names that nobody knows too: clients may write anything."""
    judged = Judged()
    judged.ends(FAST, msgspec.structs.replace(REQUEST, objective=""))
    judged.ends(FAST, msgspec.structs.replace(REQUEST, objective="invented"))
    assert judged.results("ttft", "") == {"attained": 2}
    assert judged.results("tpot", "") == {}


def test_headers_win_and_need_no_configuration() -> None:
    """What a client wants at most; the rest is its objective's."""
    judged = Judged()
    judged.ends(FAST, msgspec.structs.replace(REQUEST, ttft_objective_seconds=0.1))
    assert judged.results("ttft") == {"missed": 1}
    assert judged.results("tpot") == {"attained": 1}
    judged.attainment.use({}, [POOL])
    judged.ends(FAST, msgspec.structs.replace(REQUEST, objective="", e2e_objective_seconds=5.0))
    assert judged.results("e2e", "") == {"attained": 1}


def test_a_gateway_that_names_no_pool_means_the_only_one() -> None:
    """As it does for the pick."""
    judged = Judged()
    judged.ends(FAST, msgspec.structs.replace(REQUEST, head=Head("/", "POST", {})))
    assert judged.results("ttft") == {"attained": 1}


def test_nothing_is_kept_where_nobody_wants_anything() -> None:
    """Neither a series nor a line."""
    judged = Judged()
    judged.attainment.use({}, [POOL])
    judged.ends(FAST)
    assert judged.attainment.page() == []
    assert b"igw_slo_requests_total{" not in generate_latest(judged.families.registry)


@pytest.mark.parametrize(
    ("outcome", "ttft", "tpot", "e2e"),
    [
        (Outcome(End.FAILED, 503, duration_seconds=1), "failed", "failed", "failed"),
        (Outcome(End.COMPLETE, 500, ttft_seconds=0.1, duration_seconds=1), "failed", "failed", "failed"),
        (Outcome(End.COMPLETE, 429, ttft_seconds=0.1, duration_seconds=1), "failed", "failed", "failed"),
        (Outcome(End.COMPLETE, 404, ttft_seconds=0.1, duration_seconds=1), None, None, None),
        (Outcome(End.UNKNOWN), "unknown", "unknown", "unknown"),
        (with_times(usage=Usage(completion_tokens=1)), "attained", "unknown", "attained"),
        (with_times(ttft_seconds=None), "unknown", "unknown", "attained"),
        (Outcome(End.ABORTED, 200, ttft_seconds=0.2), "attained", "unknown", "unknown"),
        (Outcome(End.ABORTED, 200, ttft_seconds=0.7), "missed", "unknown", "unknown"),
        (Outcome(End.ABORTED), "unknown", "unknown", "unknown"),
    ],
)
def test_what_counts_as_what(outcome: Outcome, ttft: str | None, tpot: str | None, e2e: str | None) -> None:
    """Failures are misses, clients' own errors are nobody's, what nobody saw is unknown and burns nothing."""
    judged = Judged()
    judged.ends(outcome, ago=0.1)
    for of, result in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
        assert judged.results(of) == ({result: 1} if result else {})
        if result == "unknown":
            assert judged.value("igw_slo_burn_rate", of=of, window="5m") is None
        elif result:
            burns = judged.value("igw_slo_burn_rate", of=of, window="5m")
            assert (burns or 0) == (0 if result == "attained" else pytest.approx(10.0))


def test_a_client_that_leaves_when_it_is_too_late_was_missed() -> None:
    """It waited for 0.4 s in the queue and 0.3 s after: more than it was to."""
    judged = Judged()
    judged.ends(Outcome(End.ABORTED), waited=0.4, ago=0.3)
    assert judged.results("ttft") == {"missed": 1}
    assert judged.results("e2e") == {"unknown": 1}


def test_an_answer_in_one_piece_is_judged_as_a_whole_only() -> None:
    """Its first token is not seen, neither when it comes nor when it fails to."""
    judged = Judged()
    request = msgspec.structs.replace(REQUEST, stream=False)
    judged.ends(FAST, request)
    judged.ends(Outcome(End.FAILED), request)
    assert judged.results("e2e") == {"attained": 1, "failed": 1}
    assert judged.results("ttft") == {"unknown": 2}


@pytest.mark.parametrize(
    ("rejected", "counts"),
    [
        (ClientLeft("gone"), False),
        (QueueFull("full"), True),
        (Rejected("broken"), True),
        (BadRequest("what?"), False),
    ],
)
def test_refusals_count_unless_the_client_is_to_blame(rejected: Rejected, counts: bool) -> None:
    """By the objective that its headers name: nobody has read them by then."""
    judged = Judged()
    head = Head("/", "POST", {"objective": "chat"}, POOL)
    judged.attainment.refused(Request(head, model="m", stream=True), rejected)
    judged.attainment.refused(None, rejected)
    assert judged.results("ttft") == ({"failed": 1} if counts else {})


def test_what_is_kept_is_bounded() -> None:
    """Models that clients invent share a line."""
    judged = Judged()
    for number in range(5_000):
        judged.ends(FAST, msgspec.structs.replace(REQUEST, model=f"m{number}"))
    assert len(judged.attainment.page()) <= 3 * 300
