"""What is believed of a server's objects is what it has, whatever happens to lists and watches on the way."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.kubernetes.mirror import Ask, Mirror, Pace
from igw.kubernetes.objects import Event, Failure, Page

Step: TypeAlias = tuple[str, str, int]

KEYS = st.sampled_from(["a/1", "a/2", "b/1", "b/2", "c/1"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "turn", "turn", "turn", "compact", "refuse", "mark"]),
        KEYS,
        st.integers(0, 3),
    ),
    max_size=60,
)


class Server:
    """A server that forgets old versions when it is told to."""

    def __init__(self) -> None:
        self.objects: dict[str, int] = {}
        self.version = 1
        self.oldest = 1
        self._events: list[tuple[int, Event[int]]] = []
        self._lists: dict[str, tuple[int, list[tuple[str, int]]]] = {}

    def put(self, key: str, value: int | None) -> None:
        if value is None and key not in self.objects:
            return
        self.version += 1
        kind = "DELETED" if value is None else "MODIFIED" if key in self.objects else "ADDED"
        if value is None:
            del self.objects[key]
        else:
            self.objects[key] = value
        self._events.append((self.version, Event(kind, key, str(self.version), value)))

    def compact(self) -> None:
        self.oldest = self.version

    def list(self, ask: Ask) -> Page[int] | Failure:
        """Return a page; all pages are of the moment of the first."""
        if ask.token:
            begun, rest = self._lists[ask.token]
            if begun < self.oldest:
                return Failure(410, "the continue parameter is too old")
        else:
            begun, rest = self.version, sorted(self.objects.items())
        size = min(2, ask.limit) or len(rest)
        token = f"{begun}-{len(rest)}" if rest[size:] else ""
        self._lists[token] = begun, rest[size:]
        return Page(dict(rest[:size]), str(begun), token)

    def watch(self, version: str) -> list[Event[int]] | Failure:
        """Return what happened since *version*."""
        if int(version) < self.oldest:
            return Failure(410, "too old resource version")
        return [event for at, event in self._events if at > int(version)]


class Follower:
    """A mirror and somebody who only hears of changes."""

    def __init__(self) -> None:
        self.mirror: Mirror[int] = Mirror(lambda: 0.5)
        self.heard: dict[str, int] = {}

    def hear(self, changes: dict[str, int | None]) -> None:
        for key, value in changes.items():
            assert self.heard.get(key) != value, "told of a change that is none"
            if value is None:
                del self.heard[key]
            else:
                self.heard[key] = value

    def turn(self, server: Server, events: int) -> None:
        """Make one request; a watch breaks after *events*."""
        ask = self.mirror.ask
        answer = server.watch(ask.version) if ask.version else server.list(ask)
        if isinstance(answer, Failure):
            self.hear(self.mirror.failed(answer)[1])
        elif isinstance(answer, Page):
            self.hear(self.mirror.page(answer))
        else:
            for event in answer[:events]:
                self.hear(self.mirror.event(event))
            self.mirror.ended(60.0)

    def take(self, server: Server, step: Step) -> None:
        what, key, number = step
        if what == "put":
            server.put(key, number)
        elif what == "delete":
            server.put(key, None)
        elif what == "compact":
            server.compact()
        elif what == "refuse":
            self.hear(self.mirror.failed(Failure((0, 403, 429, 500)[number], "no"))[1])
        elif what == "mark" and self.mirror.ask.version and not server.watch(self.mirror.ask.version):
            self.hear(self.mirror.event(Event("BOOKMARK", "", str(server.version), None)))
        elif what == "turn":
            self.turn(server, number)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_it_becomes_what_the_server_has(steps: list[Step]) -> None:
    """After any changes, broken watches, forgotten versions and refusals; and who hears of every change knows the same at every moment."""
    server, follower = Server(), Follower()
    for step in steps:
        follower.take(server, step)
        assert follower.heard == follower.mirror.objects
    for _ in range(12):  # lists in pages, perhaps twice, then a whole watch
        follower.turn(server, 100)
    assert follower.mirror.objects == server.objects == follower.heard


def listed(**objects: int) -> Mirror[int]:
    """Return a mirror of *objects* that is about to watch."""
    mirror: Mirror[int] = Mirror(lambda: 0.5, Pace())
    mirror.page(Page(objects, "7", ""))
    return mirror


def test_what_was_deleted_while_nobody_watched_is_told() -> None:
    """By the next list; what stands until then is what was known before."""
    mirror = listed(a=1, b=2)
    wait, changes = mirror.failed(Failure(410, "too old"), 100.0)
    assert (mirror.ask, changes, mirror.objects) == (Ask(), {}, {"a": 1, "b": 2})
    assert 0 < wait < 1
    assert mirror.page(Page({"b": 2}, "9", "more")) == {}
    assert mirror.objects == {"a": 1, "b": 2}
    assert mirror.page(Page({"c": 3}, "9", "")) == {"a": None, "c": 3}
    assert mirror.ask == Ask("9")


def test_a_bookmark_moves_only_the_place() -> None:
    """So that the next watch begins where nothing is forgotten."""
    mirror = listed(a=1)
    assert mirror.event(Event("BOOKMARK", "", "50", None)) == {}
    assert (mirror.ask.version, mirror.objects) == ("50", {"a": 1})


@pytest.mark.parametrize("status", [0, 410, 500])
def test_waits_grow_to_a_bound_and_start_anew_after_a_good_watch(status: int) -> None:
    """Repeated 410 and broken connections alike."""
    mirror = listed()
    waits = []
    for _ in range(10):
        waits.append(mirror.failed(Failure(status, "no"))[0])
        if not mirror.ask.version:
            mirror.page(Page({}, "8", ""))
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10])
    assert mirror.failed(Failure(status, "no"), 30.0)[0] == pytest.approx(0.2)


def test_watches_that_end_at_once_are_not_opened_at_once() -> None:
    """One that lasted is."""
    mirror = listed()
    assert [mirror.ended(0.01) for _ in range(3)] == pytest.approx([0.2, 0.4, 0.8])
    assert mirror.ended(300.0) == 0.0
    assert mirror.ended(0.01) == pytest.approx(0.2)


def test_waits_differ_by_half() -> None:
    """So that the pickers of a pool do not come back together."""
    shortest, longest = (
        Mirror[int](lambda drawn=drawn: drawn).failed(Failure(0, "no"))[0] for drawn in (0.0, 1.0)
    )  # type: ignore[misc]
    assert (shortest, longest) == pytest.approx((0.1, 0.3))


def test_the_server_says_how_long_to_wait() -> None:
    """As right after a CRD was made: 429 with Retry-After."""
    assert listed().failed(Failure(429, "storage is (re)initializing", 5.0))[0] == 5.0


def test_a_list_that_takes_too_long_is_asked_for_in_one_piece() -> None:
    """Else its rest would be forgotten again and again."""
    mirror: Mirror[int] = Mirror(lambda: 0.5)
    mirror.page(Page({"a": 1}, "5", "more"))
    assert mirror.ask.token == "more"
    mirror.failed(Failure(410, "the continue parameter is too old"))
    assert mirror.ask == Ask(limit=0)
    assert mirror.page(Page({"b": 1}, "6", "")) == {"b": 1}


def test_a_watch_that_is_refused_again_and_again_is_given_up_for_a_list() -> None:
    """Whatever the reason; a server that cannot be reached is asked for the same again, which is cheaper for it."""
    refused, unreachable = listed(), listed()
    for _ in range(3):
        refused.failed(Failure(504, "too large resource version"))
        unreachable.failed(Failure(0, "connection refused"))
    assert (refused.ask, unreachable.ask) == (Ask(), Ask("7"))


@pytest.mark.parametrize("regular", [True, False])
def test_a_silent_watch_is_not_trusted(regular: bool) -> None:
    """A server that was set back to an older state would say nothing for ever."""
    mirror, heard = listed(), listed()
    heard.event(Event("BOOKMARK", "", "8", None))
    for each in (mirror, heard):
        _ = each.ended(300.0) if regular else each.failed(Failure(0, "ReadTimeout"), 90.0)
    assert (mirror.ask, heard.ask) == (Ask(), Ask("8"))


def test_a_kind_that_is_not_there_has_no_objects() -> None:
    """Not at the first word: a server that starts may not know its kinds yet. It is asked slowly."""
    mirror = listed(a=1)
    mirror.failed(Failure(410, "too old"))
    first, second = mirror.failed(Failure(404, "not found")), mirror.failed(Failure(404, "not found"))
    assert (first, second) == ((30.0, {}), (30.0, {"a": None}))
    assert not mirror.objects
    assert mirror.page(Page({"a": 1}, "9", "")) == {"a": 1}
    assert mirror.trouble is None
