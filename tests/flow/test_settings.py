"""`flowControl` of a file as settings."""

from __future__ import annotations

import pytest

from igw.config.picker_config import FlowControl, PriorityBand
from igw.errors import ConfigError
from igw.flow.eviction.sheddable import Sheddable
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.fairness.round_robin import RoundRobin
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.limits.keep_headroom import KeepHeadroom
from igw.flow.limits.static import StaticLimit
from igw.flow.ordering.edf import Edf
from igw.flow.ordering.fcfs import Fcfs
from igw.flow.ordering.shortest_work import ShortestWork
from igw.flow.settings import Settings, quantity, settings


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (5000, 5000),
        ("5000", 5000),
        ("512Mi", 512 * 2**20),
        ("1G", 10**9),
        ("1.5k", 1500),
        ("1e3", 1000),
        ("1500m", 2),
        ("2E", 2 * 10**18),
    ],
)
def test_quantities_are_those_of_kubernetes(written: int | str, number: int) -> None:
    """Rounded up."""
    assert quantity(written) == number


def test_nothing_written_is_ours() -> None:
    """Fair by work, shortest first, bytes limited in all."""
    found = settings(None, {})
    assert found == Settings()
    assert found.max_bytes == 10**9
    assert (found.band.fairness, found.band.ordering) == (VirtualTokenCounter(), ShortestWork())
    assert settings(FlowControl(), {}).limit == found.limit == KeepHeadroom()


def test_the_gate_asks_for_upstreams_policies() -> None:
    """A file written for upstream decides the same."""
    found = settings(FlowControl(), {}, gate=True)
    assert (found.band.fairness, found.band.ordering) == (GlobalStrict(), Fcfs())
    assert settings(None, {}, gate=True).band == found.band
    assert settings(None, {}, gate=True).limit == found.limit == StaticLimit()


def test_everything_that_can_be_written() -> None:
    """Where it belongs."""
    plugins = {"rr": RoundRobin(), "edf": Edf(), "half": StaticLimit(0.5), "shed": Sheddable()}
    found = settings(
        FlowControl(
            max_bytes=0,
            max_requests="10k",
            default_request_ttl="1m30s",
            no_endpoint_request_ttl="500ms",
            default_priority_band=PriorityBand(max_requests=7, fairness_policy_ref="rr"),
            default_negative_priority_band=PriorityBand(max_bytes="1Ki", ordering_policy_ref="edf"),
            priority_bands=[PriorityBand(priority=3, minimum_share=0.25), PriorityBand()],
            usage_limit_policy_plugin_ref="half",
            enable_eviction=True,
            evict_after_first_token=True,
        ),
        plugins,
        gate=True,
    )
    assert (found.max_bytes, found.max_requests) == (None, 10_000)
    assert (found.request_ttl_seconds, found.no_endpoint_ttl_seconds) == (90.0, 0.5)
    assert (found.band_of(9).max_requests, found.band_of(9).fairness) == (7, RoundRobin())
    assert (found.band_of(-1).max_bytes, found.band_of(-1).ordering) == (1024, Edf())
    assert (found.band_of(3).minimum_share, found.band_of(3).max_requests) == (0.25, 5000)
    assert found.band_of(0).max_requests == 5000
    assert found.limit == StaticLimit(0.5)
    assert found.revocation is not None
    assert found.revocation.after_first_token


def test_negative_priorities_fall_back_to_the_general_template() -> None:
    """And the budget of an empty pool to the other one; 0 is for ever."""
    found = settings(
        FlowControl(default_priority_band=PriorityBand(max_requests=7), default_request_ttl="0s"), {}
    )
    assert found.band_of(-1).max_requests == 7
    assert (found.request_ttl_seconds, found.no_endpoint_ttl_seconds) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        ([PriorityBand(priority=1), PriorityBand(priority=1)], "there are two bands of priority 1"),
        (
            [PriorityBand(priority=1, minimum_share=0.6), PriorityBand(minimum_share=0.6)],
            "minimum shares are 1.2",
        ),
    ],
)
def test_bands_that_contradict_each_other_are_errors(bands: list[PriorityBand], said: str) -> None:
    """With their place."""
    with pytest.raises(ConfigError, match=said):
        settings(FlowControl(priority_bands=bands), {}, "f.yaml")
