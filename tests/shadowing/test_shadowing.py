"""Shadows beside a picker: what they see, what they are counted as, and that nobody notices them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from igw.config.documents import Document
from igw.decision import Decision
from igw.errors import ConfigError, Shed
from igw.facts import Column, Facts
from igw.outcomes.learning import Learning
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.scheduling import builtin, instances
from igw.scheduling.pickers.round_robin import RoundRobinPicker
from igw.scheduling.scheduler import Scheduler
from igw.shadowing.policy import Policy
from igw.shadowing.settings import Settings, Shadow
from igw.shadowing.shadowing import Shadowing
from igw.telemetry.families import Families
from tests.routing.test_router import ENDPOINTS, Routing, chat

DEFAULT = "{type: marginal-work-scorer}, {type: near-tie-picker}"
LEAST = "{type: active-request-scorer}, {type: max-score-picker}"
ROUND = "{type: round-robin-picker}"
LONG = "tell me of it " * 4000


def configuration(path: Path, plugins: str) -> Path:
    """Write an `EndpointPickerConfig`."""
    path.write_text(f"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{plugins}]\n")
    return path


class Beside:
    """A router with shadows beside it."""

    def __init__(
        self, folder: Path, scheduler: Scheduler, share: float = 1.0, endpoints: int = 2, **shadows: str
    ) -> None:
        self.routing = Routing(p=ENDPOINTS[:endpoints])
        self.routing.router.use(scheduler)
        self.families = Families()
        self.routing.ledger.listen(Learning(self.routing.pools.promises, self._now))
        self.files = {
            name: configuration(folder / f"{name}.yaml", plugins) for name, plugins in shadows.items()
        }
        settings = Settings(tuple(Shadow(*each) for each in self.files.items()), share)
        routing = self.routing
        self.shadowing = Shadowing(
            settings, routing.router, routing.pools, routing.ledger, self.families, self._now
        )
        self.cpu = iter(float(tick) * 1e-5 for tick in range(1_000_000))
        self.shadowing._cpu = lambda: next(self.cpu)
        self.shadowing.read()

    def _now(self) -> float:
        return self.routing.now

    async def send(self, text: str = "hello") -> Decision:
        """Decide a request, and let the shadows look at it."""
        decision = await self.routing.router.route(chat(text))
        await looked()
        self.routing.now += 1.0
        return decision

    def put(self, name: str, scheduler: Scheduler) -> None:
        """Have the shadow *name* decide by *scheduler*, whatever its file says."""
        (running,) = [each for each in self.shadowing._shadows if each.name == name]
        running._policy = Policy("here", scheduler)

    def table(self) -> dict[str, Any]:
        """Return the page."""
        return msgspec.json.decode(self.shadowing.page())  # type: ignore[no-any-return]

    def row(self, name: str) -> dict[str, Any]:
        """Return what the page says of one shadow."""
        (row,) = [each for each in self.table()["shadows"] if each["name"] == name]
        return row  # type: ignore[no-any-return]

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample of the metrics page."""
        return self.families.registry.get_sample_value(name, labels)


async def looked() -> None:
    """Return once the shadows have looked at what was decided before."""
    for _ in range(3):
        await asyncio.sleep(0)


class Noting:
    """A picker that takes the least loaded endpoint, the first of equals, and remembers what it saw."""

    type = "noting-picker"

    def __init__(self) -> None:
        self.inflight: list[list[float]] = []
        self.told: list[int] = []

    def pick(self, _totals: Column, facts: Facts, /) -> Sequence[int]:
        """Pick by requests in flight."""
        self.inflight.append(facts.inflight.tolist())
        return [int(facts.inflight.argmin())]

    def decided(self, decision: Decision, /) -> None:
        """Note what was really decided."""
        self.told.append(decision.id)

    def ended(self, decision: Decision, _outcome: Any, /) -> None:
        """Note an end."""
        self.told.append(-decision.id)

    def left(self, _hostport: str, /) -> None:
        """Note that an endpoint left."""
        self.told.append(0)


class Broken(Noting):
    """One that cannot pick."""

    def pick(self, _totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Fail."""
        raise KeyError("no such thing")


class Shedding(Noting):
    """One that turns every request away."""

    def pick(self, _totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Refuse."""
        raise Shed("enough")


def by(picker: Any) -> Scheduler:
    """Return a policy of nothing but *picker*."""
    made = Scheduler.of((), picker)
    return msgspec.structs.replace(made, plugins=instances.of({picker.type: picker}))


def answered(decision: Decision, seconds: float = 1.0) -> Outcome:
    """Return how a stream ended well whose first token came after *seconds*."""
    usage = Usage(decision.request.prompt_tokens, 100, None)
    return Outcome(End.COMPLETE, 200, ttft_seconds=seconds, duration_seconds=seconds + 1, usage=usage)


async def test_a_shadow_sees_what_the_pick_saw(tmp_path: Path) -> None:
    """And not what the pick has changed, nor those after it."""
    active, shadow = Noting(), Noting()
    made = Beside(tmp_path, by(active), same=ROUND)
    made.put("same", by(shadow))
    looks = []

    async def send() -> None:
        await made.routing.router.route(chat())
        looks.append(len(shadow.inflight))

    await asyncio.gather(*[send() for _ in range(5)])
    await looked()
    assert looks == [0] * 5  # it comes after the replies
    assert shadow.inflight == active.inflight == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2]]
    assert made.row("same")["agreed"] == 5
    assert made.metric("igw_shadow_decisions_total", policy="same", agrees="true") == 5


async def test_nobody_notices_a_shadow(tmp_path: Path) -> None:
    """Decisions, reservations and prefix caches are those of a picker without one; its plugins are objects of their own."""
    plain, made = Routing(p=ENDPOINTS[:3]), Beside(tmp_path, by(RoundRobinPicker()), endpoints=3, other=ROUND)
    plain.router.use(by(RoundRobinPicker()))
    for number in range(7):
        decision = await made.send(f"{number} {LONG}")
        assert decision.endpoint.hostport == await plain.goes_to(chat(f"{number} {LONG}"))
    assert made.routing.inflight("p") == plain.inflight("p")
    assert made.routing.prefix.statistics() == plain.prefix.statistics()
    assert made.routing.ledger.statistics() == plain.ledger.statistics()
    assert made.row("other")["agreement"] == 1.0  # both take turns: the shadow's own go on by its own choices


async def test_without_shadows_nobody_watches(tmp_path: Path) -> None:
    """Nothing is spent on them; the page is there and says so."""
    made = Beside(tmp_path, by(Noting()))
    assert made.routing.router.watchers == ()
    assert not made.routing.router.keeps_promises
    assert made.table() == {"share": 1.0, "skipped": 0, "shadows": []}


async def test_only_a_share_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance, and none where the share is none; plugins are told of every decision all the same."""
    made, shadow = Beside(tmp_path, by(Noting()), share=0.5, some=ROUND), Noting()
    made.put("some", by(shadow))
    drawn = iter((0.4, 0.5, 0.6, 0.1))
    monkeypatch.setattr("igw.shadowing.shadowing.random.random", lambda: next(drawn))
    ids = [(await made.send()).id for _ in range(4)]
    assert made.row("some")["decisions"] == 2
    assert shadow.told == ids
    none = Beside(tmp_path, by(Noting()), share=0.0, some=ROUND)
    monkeypatch.undo()
    await none.send()
    assert none.row("some")["decisions"] == 0


async def test_its_plugins_are_told_what_really_happened(tmp_path: Path) -> None:
    """Where requests went, how they ended, and who left: a plugin that remembers remembers the world as it is."""
    made, shadow = Beside(tmp_path, by(Noting()), one=ROUND), Noting()
    made.put("one", by(shadow))
    decision = await made.send()
    made.routing.ledger.close(decision.id, answered(decision))
    made.routing.pools.adopt({})
    assert shadow.told == [decision.id, -decision.id, 0, 0]
    assert made.row("one")["remembers"] == ["noting-picker"]


async def test_one_that_fails_is_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said once, in the log, the table and the metrics; the request, the other shadows and the next edit are not concerned."""
    made = Beside(tmp_path, by(Noting()), bad=ROUND, good=ROUND)
    made.put("bad", by(Broken()))
    for _ in range(2):
        await made.send()
    assert made.row("bad")["off"] == "KeyError, the log says where"
    assert made.row("bad")["decisions"] == 0
    assert made.row("good")["decisions"] == 2
    assert made.metric("igw_shadow_active", policy="bad") == 0
    assert made.metric("igw_shadow_active", policy="good") == 1
    assert capsys.readouterr().out.count("shadow_switched_off") == 1
    made.shadowing.read()
    await made.send()
    assert (made.row("bad")["off"], made.row("bad")["decisions"]) == ("", 1)


async def test_a_hook_that_fails_switches_it_off_too(tmp_path: Path) -> None:
    """What ends is told in the middle of somebody else's work."""
    made, shadow = Beside(tmp_path, by(Noting()), one=ROUND), Noting()
    made.put("one", by(shadow))
    decision = await made.send()
    shadow.told = None  # type: ignore[assignment]
    made.put("one", by(shadow))
    made.routing.ledger.close(decision.id, answered(decision))
    assert made.row("one")["off"]


async def test_one_that_would_turn_requests_away_is_counted_so(tmp_path: Path) -> None:
    """That is a choice too, and it has no time to first token."""
    made = Beside(tmp_path, by(Noting()), strict=ROUND)
    made.put("strict", by(Shedding()))
    decision = await made.send()
    row = made.row("strict")
    assert (row["decisions"], row["agreed"], row["refused"], row["off"]) == (1, 0, 1, "")
    assert [verdict["shadow"] for verdict in row["differing"]] == [""]
    assert row["differing"][0]["decision"] == str(decision.id)
    assert made.metric("igw_shadow_decisions_total", policy="strict", agrees="refused") == 1


async def test_times_to_first_token_are_estimated_once_there_is_something_to_go_by(tmp_path: Path) -> None:
    """The active policy asks for no costs, and what was promised is noted and learned from all the same."""
    made = Beside(tmp_path, by(RoundRobinPicker()), default=DEFAULT)
    first = await made.send(LONG)
    assert first.expected_ttft_seconds == 0.0
    assert not first.costs
    assert made.row("default")["estimated"] == 0  # nothing was learned yet
    made.routing.ledger.close(first.id, answered(first, 2.0))
    # In turn it would be the other one, which does not have the prompt.
    second = await made.send(LONG)
    assert second.endpoint != first.endpoint
    row = made.row("default")
    assert (row["decisions"], row["estimated"], row["faster"], row["slower"]) == (2, 1, 1, 0)
    verdict = row["differing"][0]
    assert (verdict["chosen"], verdict["shadow"]) == (second.endpoint.hostport, first.endpoint.hostport)
    saved = verdict["chosen_ttft_seconds"] - verdict["shadow_ttft_seconds"]
    assert saved > 0.5
    for of in ("chosen", "shadow"):
        total = made.metric("igw_shadow_ttft_seconds_total", policy="default", of=of)
        assert total == pytest.approx(verdict[f"{of}_ttft_seconds"])
    below = made.metric("igw_shadow_ttft_difference_seconds_bucket", policy="default", le="-0.5")
    assert below == 1


async def test_the_default_policy_is_compared_at_its_own_costs(tmp_path: Path) -> None:
    """Where it is the active one they are there, and a shadow that spreads pays for what it does not find cached."""
    made = Beside(tmp_path, builtin.default(), spread=ROUND)
    made.put("spread", by(RoundRobinPicker()))
    first = await made.send(LONG)
    made.routing.ledger.close(first.id, answered(first, 2.0))
    for _ in range(4):
        again = await made.send(LONG)
        assert again.endpoint == first.endpoint
        made.routing.ledger.close(again.id, answered(again, 0.1))
    row = made.row("spread")
    # Five turns, of which the first was taken when nothing was known.
    assert (row["decisions"], row["estimated"], row["slower"]) == (5, 4, 2)
    assert row["shadow_ttft_seconds"] > row["chosen_ttft_seconds"]


async def test_an_edit_counts_anew_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    """Each file by itself; who is compared with another active configuration is counted anew too."""
    made = Beside(tmp_path, by(Noting()), one=LEAST, two=LEAST)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(made.shadowing.follow(stop))
        await made.send()
        made.files["one"].write_text("kind: EndpointPickerConfig\n")
        configuration(made.files["two"], ROUND)
        async with asyncio.timeout(10):
            while not made.row("one")["refused_edit"] or made.row("two")["decisions"]:
                await asyncio.sleep(0.02)
        assert "apiVersion" in made.row("one")["refused_edit"]
        assert (made.row("one")["decisions"], made.row("two")["decisions"]) == (1, 0)
        configuration(made.files["one"], LEAST)
        async with asyncio.timeout(10):
            while made.row("one")["refused_edit"]:
                await asyncio.sleep(0.02)
        stop.set()
    await made.send()
    assert made.row("one")["decisions"] == 1
    made.shadowing.against(None)
    assert made.row("one")["decisions"] == 1
    made.shadowing.against(Document("f", "", "EndpointPickerConfig", "", "", {}))
    assert made.row("one")["decisions"] == 0


async def test_a_file_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    """With its place."""
    with pytest.raises(ConfigError, match=r"bad\.yaml.*no-such-scorer"):
        Beside(tmp_path, by(Noting()), bad="{type: no-such-scorer}")


async def test_a_slow_one_is_switched_off(tmp_path: Path) -> None:
    """Nobody decides while it does: more than a hundredth of a second in the mean is too much."""
    made = Beside(tmp_path, by(Noting()), slow=ROUND)
    made.cpu = iter(float(tick) * 0.02 for tick in range(1000))
    for _ in range(12):
        await made.send()
        made.routing.now += 100.0
    assert made.row("slow")["off"] == "it takes 20 ms of CPU per decision"
    assert made.row("slow")["decisions"] == 10
    assert made.row("slow")["cpu_seconds"] == pytest.approx(0.02)
    assert made.metric("igw_shadow_cpu_seconds_total", policy="slow") == pytest.approx(0.2)


async def test_shadows_take_a_twentieth_of_the_time_at_most(tmp_path: Path) -> None:
    """Beyond that, and a burst, decisions are not looked at, and counted; nor are more than a few at once."""
    made = Beside(tmp_path, by(Noting()), one=ROUND)
    made.cpu = iter(float(tick) * 0.002 for tick in range(1000))  # read four times: 6 ms in all, of 120 ms
    start = made.routing.now
    for later in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.2, 0.21):
        made.routing.now = start + later
        await made.routing.router.route(chat())
        await looked()
    assert made.row("one")["decisions"] == 6
    assert made.table()["skipped"] == made.metric("igw_shadow_skipped_total") == 2
    made.routing.now = start + 10.0
    await asyncio.gather(*[made.routing.router.route(chat()) for _ in range(20)])
    await looked()
    assert made.row("one")["decisions"] == 6 + 16


async def test_facts_of_the_same_producer_are_shared_and_of_others_found_out_anew(tmp_path: Path) -> None:
    """One that asks others is not run for a shadow: what it would have found out is missing, and the table says so."""
    session = "{type: session-id-producer, parameters: {headerName: x-session}}"
    token = "{type: token-producer, parameters: {vllm: {url: 'http://127.0.0.1:9'}}}"
    made = Beside(tmp_path, by(Noting()), one=f"{session}, {token}, {LEAST}")
    await made.send()
    row = made.row("one")
    assert (row["off"], row["decisions"], row["unfed"]) == ("", 1, ["token-producer"])
    (running,) = made.shadowing._shadows
    assert running._policy is not None
    active = running._policy.scheduler.plugins.by_name
    assert running._policy.unfed(active) == []
