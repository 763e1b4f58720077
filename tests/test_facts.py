"""Facts: what plugins may ask for beside the columns, and that filters narrow all of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from igw.endpoint import Endpoint
from igw.facts import Adapters, Facts

POET = Adapters(frozenset({"poet"}), most=2)
FULL = Facts(
    waiting=np.array([1.0, 2.0, 3.0]),
    running=np.array([4.0, 5.0, 6.0]),
    kv_usage=np.array([0.1, 0.2, 0.3]),
    inflight=np.array([7.0, 8.0, 9.0]),
    matched_tokens=np.array([64.0, 0.0, 128.0]),
    prefix_tokens=256,
    inflight_tokens=np.array([10.0, 20.0, 30.0]),
    endpoints=tuple(Endpoint.at("10.0.0.1", port) for port in (1, 2, 3)),
    adapters=np.array([Adapters(), POET, Adapters()], dtype=object),
    matched_media=np.array([0.0, 5.0, 0.0]),
    media_size=10,
    scalars={"depth": np.array([1.0, np.nan, 3.0])},
    prefixes={"burst": (np.array([0.0, 16.0, 32.0]), 64)},
    added_tokens=np.array([192.0, 256.0, 128.0]),
)


def test_filters_narrow_everything_that_is_per_candidate() -> None:
    """And nothing that is not."""
    left = FULL.narrowed(np.array([False, True, True]))
    for name in ("waiting", "running", "kv_usage", "inflight", "matched_tokens", "inflight_tokens"):
        assert getattr(left, name).tolist() == getattr(FULL, name).tolist()[1:], name
    assert left.matched_media.tolist() == [5, 0]
    assert left.added_tokens.tolist() == [256, 128]
    assert left.adapters.tolist() == [POET, Adapters()]
    assert [endpoint.port for endpoint in left.endpoints] == [2, 3]
    assert np.isnan(left.scalar("depth")).tolist() == [True, False]
    assert (left.prefix("burst")[0].tolist(), left.prefix("burst")[1]) == ([16, 32], 64)
    assert (left.prefix_tokens, left.media_size) == (256, 10)


def test_what_nobody_measured_stays_empty() -> None:
    """Columns without an owner are not narrowed."""
    bare = msgspec.structs.replace(FULL, adapters=np.zeros(0, dtype=object), added_tokens=np.zeros(0))
    left = bare.narrowed(np.array([True, False, False]))
    assert (len(left.adapters), len(left.added_tokens)) == (0, 0)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("WaitingQueueSize", [1, 2, 3]),
        ("RunningRequestsSize", [4, 5, 6]),
        ("KVCacheUsagePercent", [0.1, 0.2, 0.3]),
    ],
)
def test_core_metrics_go_by_upstreams_names(key: str, values: list[float]) -> None:
    """They need no configuration."""
    assert FULL.scalar(key).tolist() == values


def test_a_scalar_that_nobody_reports_is_missing_everywhere() -> None:
    """NaN, not 0."""
    assert np.isnan(FULL.scalar("nothing")).tolist() == [True] * 3


def test_prefixes_go_by_their_producer() -> None:
    """The approximate index by its type's name or by none; whoever is not there has matched nothing."""
    for name in ("", "approx-prefix-cache-producer"):
        tokens, total = FULL.prefix(name)
        assert (tokens.tolist(), total) == ([64, 0, 128], 256)
    tokens, total = FULL.prefix("nobody")
    assert (tokens.tolist(), total) == ([0, 0, 0], 0)


def test_what_a_producer_found_out_is_known_by_its_name() -> None:
    """What the default one says is in the columns too; other facts are by type and name, and narrowed if they are columns."""
    zero = np.zeros(2)
    facts = Facts(zero, zero, zero, zero, np.array([5.0, 6.0]), prefix_tokens=64)
    other = facts.knowing("other", {"PrefixCacheMatchInfo": (np.array([1.0, 2.0]), 9)})
    assert other.prefix("other")[0].tolist() == [1.0, 2.0]
    assert (other.matched_tokens.tolist(), other.prefix_tokens) == ([5.0, 6.0], 64)
    default = other.knowing(
        "approx-prefix-cache-producer", {"PrefixCacheMatchInfo": (np.array([3.0, 4.0]), 8)}
    )
    assert (default.matched_tokens.tolist(), default.prefix_tokens) == ([3.0, 4.0], 8)
    assert default.prefix("other")[1] == 9
    mine = default.knowing("mine", {"Heat": np.array([7.0, 8.0]), "Mood": "low"}).knowing(
        "yours", {"Mood": "high"}
    )
    assert (mine.produced["Mood/mine"], mine.produced["Mood/yours"]) == ("low", "high")
    left = mine.narrowed(np.array([False, True]))
    assert (left.produced["Heat/mine"].tolist(), left.produced["Mood/mine"]) == ([8.0], "low")
    assert left.prefix("other")[0].tolist() == [2.0]


def test_load_and_media_take_the_place_of_their_columns() -> None:
    """There is one book of each."""
    zero = np.zeros(2)
    facts = Facts(zero, zero, zero, zero, zero)
    found = {
        "InFlightLoad": np.array([1.0, 2.0]),
        "UncachedRequestTokens": np.array([3.0, 4.0]),
        "EncoderCacheMatchInfo": (np.array([5.0, 6.0]), 7),
    }
    known = facts.knowing("any", found)
    assert known.inflight_tokens.tolist() == [1.0, 2.0]
    assert known.added_tokens.tolist() == [3.0, 4.0]
    assert (known.matched_media.tolist(), known.media_size) == ([5.0, 6.0], 7)
    assert facts.knowing("any", {}) == facts
