"""Events are few, and the same again is one of them."""

from __future__ import annotations

from igw.kubernetes.conditions import READY, Claim, Condition
from igw.kubernetes.events import Events
from igw.kubernetes.kinds import OBJECTIVES

WRONG = Condition(READY, "False", "Refused", "$.spec: no")


def claim(name: str = "urgent") -> Claim:
    """Return what is said of an objective."""
    return Claim(OBJECTIVES[0], f"llm/{name}", f"uid-{name}", 3, "7", None, (WRONG,))


def test_an_event_says_who_says_what_of_whom() -> None:
    """In the fields that events.k8s.io/v1 demands."""
    telling = Events("picker-0").tell(claim(), WRONG, 0.0, "now")
    assert telling is not None
    assert not telling.again
    told = telling.body
    assert told["metadata"] == {"name": telling.name, "namespace": "llm"}
    assert telling.name.startswith("urgent.")
    assert (told["type"], told["reason"], told["note"]) == ("Warning", "Refused", "$.spec: no")
    assert (told["eventTime"], told["action"]) == ("now", "Check")
    assert (told["reportingController"], told["reportingInstance"]) == ("igw.dev/endpoint-picker", "picker-0")
    assert told["regarding"] == {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceObjective",
        "namespace": "llm",
        "name": "urgent",
        "uid": "uid-urgent",
        "resourceVersion": "7",
    }


def test_the_same_again_counts_up() -> None:
    """Another object, another message, and one that the API server has forgotten are new."""
    events = Events("picker-0")
    first = events.tell(claim(), WRONG, 0.0, "t0")
    again = [events.tell(claim(), WRONG, float(n), f"t{n}") for n in (1, 2)]
    assert first is not None
    assert [each and each.body for each in again] == [
        {"series": {"count": 2, "lastObservedTime": "t1"}},
        {"series": {"count": 3, "lastObservedTime": "t2"}},
    ]
    assert {each.name for each in again if each is not None} == {first.name}
    events.forget(first.name)
    others = [
        events.tell(claim(), WRONG, 3.0, "t3"),
        events.tell(claim("other"), WRONG, 3.0, "t3"),
        events.tell(claim(), Condition(READY, "False", "Refused", "$.spec: yes"), 3.0, "t3"),
    ]
    assert [each is not None and each.again for each in others] == [False] * 3


def test_two_replicas_do_not_count_in_one_event() -> None:
    """Each would overwrite the other's count."""
    told = [Events(name).tell(claim(), WRONG, 0.0, "now") for name in ("a", "b")]
    assert len({each.name for each in told if each is not None}) == 2


def test_there_are_not_many() -> None:
    """25 at once and one in ten seconds; what is known of them is bounded too."""
    events = Events("picker-0")
    told = [events.tell(claim(f"o{n}"), WRONG, 0.0, "now") for n in range(1000)]
    assert sum(each is not None for each in told) == 25
    assert events.dropped == 975
    later = [events.tell(claim(f"p{n}"), WRONG, float(n), "now") for n in range(1000)]
    assert 98 <= sum(each is not None for each in later) <= 101
    for number in range(1000):
        events.tell(claim(f"q{number}"), WRONG, 1000.0 + 100.0 * number, "now")
    assert len(events._counts) == 256


def test_long_names_and_messages_fit() -> None:
    """253 characters for a name, 1,024 for a note, 128 for an instance."""
    long = Condition(READY, "False", "Refused", "x" * 5000)
    telling = Events("i" * 200).tell(claim("n" * 253), long, 0.0, "now")
    assert telling is not None
    assert len(telling.name) <= 253
    assert len(telling.body["note"]) == 1024
    assert len(telling.body["reportingInstance"]) == 128
