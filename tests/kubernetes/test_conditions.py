"""What is written into a status says what is to be said, once, and leaves alone what others say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.kubernetes.conditions import CONTROLLER, READY, Claim, Condition, Parent
from igw.kubernetes.kinds import OBJECTIVES, OLD_GROUP, POOL_GROUP, POOLS

THEN, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
SERVICE = Parent("", "Service", "epp", "llm")
WELL = (Condition("Accepted", "True", "Accepted", "yes"), Condition(READY, "True", "Ready", "3 endpoints"))
ILL = (Condition("Accepted", "False", "Refused", "no"), Condition(READY, "False", "Refused", "no"))
GATEWAY = {
    "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"},
    "controllerName": "example.net/gateway",
    "conditions": [{"type": "Accepted", "status": "True", "whatever": 5}],
}
NOBODY = {"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Status", "name": "default"}}


def claim(status: Any = None, conditions: tuple[Condition, ...] = WELL, generation: int = 1) -> Claim:
    """Return what is said of an objective."""
    return Claim(OBJECTIVES[0], "llm/urgent", "uid", generation, "7", status, conditions)


def of_pool(status: Any = None, conditions: tuple[Condition, ...] = WELL, group: str = POOL_GROUP) -> Claim:
    """Return what is said of a pool."""
    return Claim(POOLS[group], "llm/llama", "uid", 1, "7", status, conditions, SERVICE)


def after(said: Claim, now: str = NOW) -> dict[str, Any]:
    """Return the status once it was written."""
    return (said.status or {}) | (said.written(now) or {})


def test_what_is_there_is_not_written_again() -> None:
    """Whatever time it is; something else is, and keeps the time of what stays so."""
    status = after(claim(), THEN)
    assert claim(status).written(NOW) is None
    assert claim(status).only_words
    changed = (WELL[0], Condition(READY, "False", "NoPods", "none"))
    first, second = after(claim(status, changed, generation=2))["conditions"]
    assert (first["lastTransitionTime"], second["lastTransitionTime"]) == (THEN, NOW)
    assert (first["observedGeneration"], second["observedGeneration"]) == (2, 2)


def test_only_words_is_what_changes_nothing_but_messages() -> None:
    """A count, but not another reason, another generation, or nothing at all before."""
    status = after(claim())
    counted = (WELL[0], Condition(READY, "True", "Ready", "4 endpoints"))
    assert claim(status, counted).written(NOW) is not None
    assert claim(status, counted).only_words
    assert not claim(status, ILL).only_words
    assert not claim(status, WELL, generation=2).only_words
    assert not claim().only_words


def test_conditions_of_others_stay_in_their_place() -> None:
    """And the placeholder that a CRD makes for a condition of ours becomes it."""
    other, pending = (
        {"type": "Scaled", "status": "True"},
        {"type": READY, "status": "Unknown", "reason": "Pending"},
    )
    found = after(claim({"conditions": [pending, other]}))["conditions"]
    assert found[1] == other
    assert [each["type"] for each in found] == [READY, "Scaled", "Accepted"]
    assert found[0]["status"] == "True"


def test_entries_of_others_stay_in_their_place() -> None:
    """Before ours and behind it; an entry of ours under an older name of the Service is replaced."""
    older = {"parentRef": {"name": "old"}, "controllerName": CONTROLLER, "conditions": []}
    first, ours, last = after(of_pool({"parents": [GATEWAY, older, {**GATEWAY, "x": 1}]}))["parents"]
    assert (first, last) == (GATEWAY, {**GATEWAY, "x": 1})
    assert ours["controllerName"] == CONTROLLER
    assert ours["parentRef"] == {"group": "", "kind": "Service", "name": "epp", "namespace": "llm"}
    assert of_pool({"parents": [first, ours, last]}).written(NOW) is None
    twice = of_pool({"parents": [ours, GATEWAY, ours]})
    assert after(twice)["parents"] == [ours, GATEWAY]


def test_an_older_pool_has_no_name_of_a_controller() -> None:
    """So our entry is known by its parent; the parent that stands for nobody goes."""
    status = after(of_pool({"parent": [NOBODY, GATEWAY]}, group=OLD_GROUP))
    first, ours = status["parent"]
    assert first == GATEWAY
    assert sorted(ours) == ["conditions", "parentRef"]
    assert of_pool(status, group=OLD_GROUP).written(NOW) is None


@pytest.mark.parametrize(("field", "most"), [("conditions", 8), ("parents", 32)])
def test_where_there_is_no_room_nothing_is_written(field: str, most: int) -> None:
    """The API server would refuse all of it."""
    for free in (0, 2):
        entries = [{**GATEWAY, "type": f"T{number}"} for number in range(most - free)]
        said = claim({field: entries}) if field == "conditions" else of_pool({field: entries})
        assert (said.written(NOW) is None) == (free == 0)


def test_a_message_is_cut_where_it_would_be_too_long() -> None:
    """The API server takes 32,768 characters; nobody reads 4,096."""
    long = claim(None, (Condition(READY, "False", "Refused", "x" * 50_000),))
    (found,) = after(long)["conditions"]
    assert len(found["message"]) == 4096
    assert claim(after(long), long.conditions).written(NOW) is None


CONDITIONS = st.lists(
    st.builds(
        Condition,
        st.sampled_from(["Accepted", "ResolvedRefs", READY]),
        st.sampled_from(["True", "False", "Unknown"]),
        st.sampled_from(["A", "B"]),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=3,
    unique_by=lambda each: each.type,
)


@given(st.lists(st.tuples(CONDITIONS, st.integers(1, 3)), max_size=6), st.booleans(), st.integers(0, 3))
def test_after_any_writes_the_last_one_is_said(
    writes: list[tuple[list[Condition], int]], is_pool: bool, others: int
) -> None:
    """And nothing of the others changed."""
    kept = [{**GATEWAY, "n": number} for number in range(others if is_pool else 0)]
    status: dict[str, Any] = {"parents": list(kept)} if is_pool else {}
    for number, (conditions, generation) in enumerate(writes):
        said = (of_pool if is_pool else claim)(status, tuple(conditions))
        said = msgspec.structs.replace(said, generation=generation)
        status = after(said, f"2026-01-0{number + 1}T00:00:00Z")
        again = msgspec.structs.replace(said, status=status)
        assert again.written(NOW) is None
        assert again.only_words
        assert {(each["type"], each["message"]) for each in again.said} >= {
            (each.type, each.message) for each in conditions
        }
    assert [each for each in status.get("parents", ()) if "n" in each] == kept
