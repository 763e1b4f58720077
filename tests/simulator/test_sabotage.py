"""Faults that happen at their time."""

from __future__ import annotations

import asyncio

from igw.simulator.faults import Faults, Planned, Restart, Slow
from igw.simulator.sabotage import Saboteur


async def test_a_schedule_runs_by_the_clock_and_tells_how_slow_steps_are() -> None:
    """Two changes, one after the other; whoever hangs is let go by each."""
    factors: list[float] = []
    plan = [Planned(at_seconds=10 * n, faults=Faults(rules=(Slow(factor=n),))) for n in (1, 2)]
    saboteur = Saboteur(plan, speed=1000, clock=asyncio.get_running_loop().time)
    saboteur.attach(factors.append)
    running = asyncio.create_task(saboteur.run())
    async with asyncio.timeout(10):
        await saboteur.hang()
        await saboteur.hang()
    running.cancel()
    assert factors == [1.0, 1.0, 2.0]


async def test_a_plan_that_comes_later_is_followed() -> None:
    """The task that waits for the old one, which had nothing to come, begins anew."""
    saboteur = Saboteur([], speed=1, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(saboteur.run())
    await asyncio.sleep(0)
    saboteur.plan([Planned(at_seconds=0, restart=Restart(loading_seconds=3))])
    async with asyncio.timeout(10):
        assert await saboteur.end_of_life() == Restart(loading_seconds=3)
    running.cancel()


async def test_a_restart_ends_faults_and_is_over_with_the_next_life() -> None:
    """By request as by command."""
    saboteur = Saboteur([Planned(at_request=1, restart=Restart())], speed=1, clock=lambda: 0.0)
    saboteur.born_again()
    saboteur.set(Faults(unready=True))
    saboteur.arrive()
    assert saboteur.state.faults == Faults()
    assert saboteur.restarting == Restart()
    assert not saboteur.alive.is_set()
    saboteur.born_again()
    assert saboteur.restarting is None
    assert saboteur.alive.is_set()
