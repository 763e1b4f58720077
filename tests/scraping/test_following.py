"""What scrapes of one endpoint lead to: the pool's columns, the index, who is lost and who is back."""

from __future__ import annotations

import pytest

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.prefix.index import PrefixIndex
from igw.scraping.following import Following
from igw.scraping.report import Report
from igw.work.promises import Promises

ENDPOINT = Endpoint.at("10.0.0.1", 8000)


def followed() -> tuple[Following, Columns, PrefixIndex]:
    """Return an endpoint that holds two blocks, and what its scrapes are written to."""
    prefix = PrefixIndex()
    columns = Columns(Pool("p", "default", (ENDPOINT,)), prefix.slot)
    prefix.record(0, [1, 2])
    return Following(ENDPOINT.hostport, columns, prefix, None, 0.0), columns, prefix


def test_an_answer_is_written_into_the_columns() -> None:
    """It is no return of one that was never lost."""
    following, columns, prefix = followed()
    assert not following.answered(Report(3, 5, 0.25, 4096, 10, scalars={"depth": 2.5}), 1.0)
    assert (columns.waiting[0], columns.running[0], columns.kv_usage[0]) == (3, 5, 0.25)
    assert columns.scalars["depth"].tolist() == [2.5]
    assert prefix.match([1, 2])[0] == 2


def test_three_misses_in_a_row_lose_an_endpoint_once_and_an_answer_brings_it_back_empty() -> None:
    """An answer in between starts the count anew."""
    following, columns, prefix = followed()
    assert [following.missed() for _ in range(2)] == [False, False]
    following.answered(Report(0, 0, 0.0), 1.0)
    assert [following.missed() for _ in range(5)] == [False, False, True, False, False]
    assert columns.failing[0]
    assert prefix.match([1, 2])[0] == 2
    assert following.answered(Report(0, 0, 0.0), 2.0)
    assert not columns.failing[0]
    assert prefix.match([1, 2])[0] == 0


def test_a_counter_that_goes_back_means_an_empty_cache() -> None:
    """The engine was restarted between two scrapes; one without the counter never was, as far as we know."""
    following, _, prefix = followed()
    for queries, held in ((100.0, 2), (100.0, 2), (40.0, 0)):
        following.answered(Report(0, 0, 0.0, lifetime=queries), 1.0)
        assert prefix.match([1, 2])[0] == held


def test_the_pause_follows_the_picks_since_the_last_one_and_doubt() -> None:
    """Two picks per scrape; at once again after a miss; at leisure when nothing is picked."""
    following, columns, _ = followed()
    columns.picks += 20
    assert following.pause_seconds(1, 0.05, 2.0) == pytest.approx(0.2)
    assert following.pause_seconds(1, 0.05, 3.0) == 1.0
    following.missed()
    assert following.pause_seconds(1, 0.05, 4.0) == 0.05


def test_a_server_that_is_slow_to_answer_is_left_alone_for_longer() -> None:
    """Not where it is in doubt."""
    following, _, _ = followed()
    assert following.pause_seconds(1, 0.05, 1.0, took_seconds=0.5) == 2.0
    following.missed()
    assert following.pause_seconds(1, 0.05, 2.0, took_seconds=0.5) == 0.05


def test_the_age_of_what_is_known_is_that_of_the_last_answer() -> None:
    """Misses do not make it younger; before the first answer there is none."""
    following, _, _ = followed()
    assert following.age_seconds(5.0) is None
    following.answered(Report(0, 0, 0.0), 6.0)
    following.missed()
    assert following.age_seconds(9.0) == 3.0


def test_what_an_engine_does_not_say_is_not_promised_on() -> None:
    """Without a queue nothing is concluded; without KV usage its capacity says nothing of what is free."""
    prefix, promises = PrefixIndex(), Promises()
    columns = Columns(Pool("p", "default", (ENDPOINT,)), prefix.slot)
    promises.adopt(dict(zip(columns.slots.tolist(), columns.row, strict=True)))
    following = Following(ENDPOINT.hostport, columns, prefix, promises, 0.0)
    unknown = promises.promised(columns.slots, 0.0).column("free_tokens").tolist()
    following.answered(Report(None, 1, 0.5, 4096), 1.0)
    following.answered(Report(1, 1, None, 4096), 2.0)
    assert promises.promised(columns.slots, 2.0).column("free_tokens").tolist() == unknown
    following.answered(Report(1, 1, 0.5, 4096), 3.0)
    assert promises.promised(columns.slots, 3.0).column("free_tokens").tolist() != unknown
