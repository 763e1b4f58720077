"""Sequences that go through the engine together."""

from __future__ import annotations

import asyncio

import pytest

from igw.simulator.driver import Inbox
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.generation import CannotRun, Generation, generating


class Runner:
    """Takes sequences of at most ten tokens and remembers what became of them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.aborted: list[str] = []
        self.inbox: Inbox | None = None

    def submit(self, sequence: Sequence, inbox: Inbox, _arrived: float) -> None:
        """Take a sequence; ValueError for one that is too long."""
        if sequence.output_tokens > 10:
            raise ValueError("too long")
        self.taken.append(sequence.id)
        self.inbox = inbox

    def abort(self, sequence_id: str) -> None:
        """Remember it."""
        self.aborted.append(sequence_id)


def sequence(name: str, tokens: int = 2) -> Sequence:
    """One that answers with so many tokens."""
    return Sequence(name, prompt_tokens=1, output_tokens=tokens)


def emission(of: Sequence, total: int) -> Emission:
    """The one of its `total`th token."""
    return Emission(of, 1, total, 0, 0.0)


async def test_a_generation_goes_on_until_every_sequence_has_ended() -> None:
    """The last emission of each is kept."""
    runner, one, two = Runner(), sequence("one"), sequence("two")
    async with generating(runner, [one, two], 0.0, every_token=True) as generation:
        assert runner.inbox is not None
        runner.inbox.put(emission(one, 1))
        assert await generation.take() == [emission(one, 1)]
        for last in (one, two):
            assert generation.going_on
            runner.inbox.put(emission(last, 2))
            await generation.take()
        assert not generation.going_on
        assert generation.ended == {"one": emission(one, 2), "two": emission(two, 2)}


async def test_finishing_waits_for_the_ends() -> None:
    """However they come."""
    runner, one = Runner(), sequence("one")
    async with generating(runner, [one], 0.0, every_token=False) as generation:
        waiting = asyncio.create_task(generation.finish())
        assert runner.inbox is not None
        runner.inbox.put(emission(one, 2))
        async with asyncio.timeout(10):
            await waiting
    assert generation.ended["one"].total_tokens == 2


async def test_whoever_leaves_frees_what_was_taken() -> None:
    """By an error, too."""
    runner = Runner()
    with pytest.raises(KeyError):
        async with generating(runner, [sequence("one"), sequence("two")], 0.0, every_token=False):
            raise KeyError
    assert runner.aborted == ["one", "two"]


async def test_when_one_cannot_run_none_does() -> None:
    """Those that were taken before are freed."""
    runner = Runner()
    with pytest.raises(CannotRun, match="too long"):
        async with generating(runner, [sequence("one"), sequence("two", 11)], 0.0, every_token=False):
            pytest.fail("nothing to wait for")
    assert (runner.taken, runner.aborted) == (["one"], ["one"])


async def test_a_watcher_sees_every_emission() -> None:
    """Also those that wake nobody."""
    runner, one, seen = Runner(), sequence("one"), []
    async with generating(runner, [one], 0.0, every_token=False, watch=seen.append) as generation:
        assert isinstance(generation, Generation)
        assert runner.inbox is not None
        runner.inbox.put(emission(one, 1))
        runner.inbox.put(emission(one, 2))
        assert await generation.take() == [emission(one, 2)]
    assert [each.total_tokens for each in seen] == [1, 2]
