"""What endpoints were promised: sums, presumed first tokens, what scrapes and ends correct, and what is learned."""

from __future__ import annotations

import random
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.work.cost import FIELDS
from igw.work.promises import Answer, Promises

PER_TOKEN, PER_PAIR = 1e-4, 1e-9
"""The rates before anything is learned."""


def promises(count: int = 1) -> Promises:
    """Return the promises of endpoints `e0`, `e1`... in slots of the same number."""
    made = Promises()
    made.adopt({slot: f"e{slot}" for slot in range(count)})
    return made


def at(made: Promises, now: float, slot: int = 0) -> dict[str, float]:
    """Return what the endpoint of *slot* has to do."""
    found = made.promised(np.array([slot]), now)
    return {name: float(found.column(name)[0]) for name in FIELDS}


def test_an_endpoint_that_was_sent_nothing_has_nothing_to_do() -> None:
    """And is like the others."""
    idle = at(promises(), 5.0)
    assert idle.pop("prefill_factor") == idle.pop("decode_factor") == 1
    assert idle.pop("done_seconds") >= 0
    assert idle.pop("free_tokens") == inf
    assert not any(idle.values())


def test_a_request_without_a_first_token_is_backlog() -> None:
    """Its uncached tokens, and the attention of those to all before them."""
    made = promises()
    made.send(1, 0, 1000, 400, 10.0)
    found = at(made, 10.01)
    assert found["tokens"] == found["oldest_tokens"] == 400
    assert found["pairs"] == found["oldest_pairs"] == 1000**2 - 600**2
    assert (found["queued"], found["running"], found["context_tokens"]) == (1, 0, 1000)
    assert found["done_seconds"] == pytest.approx(0.01)


def test_first_tokens_are_presumed_when_the_rates_say_so() -> None:
    """One prompt after another: the second begins when the first is done."""
    made = promises()
    takes = PER_TOKEN * 1000 + PER_PAIR * 1000**2
    made.send(1, 0, 1000, 1000, 10.0)
    made.send(2, 0, 1000, 1000, 10.0)
    assert at(made, 10.0 + 0.99 * takes)["queued"] == 2
    found = at(made, 10.0 + 1.01 * takes)
    assert (found["queued"], found["running"], found["tokens"]) == (1, 1, 1000)
    assert found["done_seconds"] == pytest.approx(0.01 * takes)
    assert at(made, 10.0 + 2.01 * takes)["running"] == 2


def test_who_is_told_of_first_tokens_waits_for_them() -> None:
    """From the first one on, for streamed answers; those in one piece have none to tell of."""
    made = promises()
    made.send(1, 0, 1000, 1000, 10.0)
    made.start(1, 10.05)
    assert at(made, 10.06)["running"] == 1
    made.send(2, 0, 1000, 1000, 11.0)
    assert at(made, 99.0)["queued"] == 1
    made.start(2, 99.5)
    assert at(made, 99.5)["queued"] == 0
    made.send(3, 0, 1000, 1000, 100.0, stream=False)
    assert at(made, 101.0)["queued"] == 0


def test_who_is_no_longer_told_presumes_again() -> None:
    """A streamed answer that ended, with a first token that nobody had told of, shows it."""
    made = promises()
    made.send(1, 0, 1000, 1000, 10.0)
    made.send(2, 0, 1000, 1000, 10.0)
    made.start(1, 10.1)
    made.end(2, 12.0, Answer(2.0, 20, 0.2))
    made.send(3, 0, 1000, 1000, 13.0)
    assert at(made, 20.0)["queued"] == 0


def test_the_engine_says_that_what_was_presumed_still_waits() -> None:
    """The last ones sent before the scrape; their prefill begins anew."""
    made = promises()
    for number in range(3):
        made.send(number, 0, 1000, 1000, 10.0)
    assert at(made, 20.0)["queued"] == 0
    made.scraped(0, 2.0, 0.5, 10_000, 20.0)
    found = at(made, 20.0)
    assert (found["queued"], found["running"], found["tokens"]) == (2, 1, 2000)
    made.scraped(0, 0.0, 0.5, 10_000, 20.5)
    assert at(made, 21.0)["queued"] == 0


def test_memory_is_what_the_engine_says_and_what_it_does_not_know_of() -> None:
    """Sent after the page was written, or still waiting there."""
    made = promises()
    made.send(1, 0, 1000, 300, 10.0)
    assert at(made, 10.0)["free_tokens"] == inf
    made.scraped(0, 0.0, 0.2, 10_000, 11.0)
    assert at(made, 11.0)["free_tokens"] == 9800 - 2000
    made.scraped(0, 1.0, 0.2, 10_000, 11.1)
    assert at(made, 11.1)["free_tokens"] == 9800 - 2300
    made.send(2, 0, 1000, 500, 11.2)
    made.scraped(0, 0.0, 0.2, 0.0, 11.21)
    assert at(made, 11.3)["free_tokens"] == 9800 - 2500
    made.end(2, 11.3)
    assert at(made, 11.3)["free_tokens"] == 9800 - 2000


def test_what_has_ended_is_no_longer_promised() -> None:
    """Whatever its phase; a second end, or that of a stranger, is none."""
    made = promises()
    made.send(1, 0, 1000, 1000, 10.0)
    made.send(2, 0, 1000, 1000, 10.0)
    at(made, 10.15)
    for number in (1, 2, 2, 77):
        made.end(number, 10.2)
    found = at(made, 10.2)
    assert (found["tokens"], found["pairs"], found["context_tokens"]) == (0, 0, 0)
    assert (found["queued"], found["running"]) == (0, 0)
    made.start(1, 11.0)
    assert made.model.observations == 0


def test_an_answer_teaches_what_was_ahead_of_it_too() -> None:
    """Two prompts sent together: the first tokens of both fit the same rates, though the second took twice as long."""
    made, rng = promises(), random.Random(1)
    now = 0.0
    for number in range(0, 400, 2):
        tokens = rng.choice([1000, 4000, 16_000])
        takes = 5e-5 * tokens + 4e-10 * tokens**2
        for ahead in (0, 1):
            made.send(number + ahead, 0, tokens, tokens, now)
        for ahead in (0, 1):
            ttft = 0.03 + takes * (1 + ahead)
            made.end(number + ahead, now + ttft + 1, Answer(ttft + 1, 51, ttft))
        now += 100.0
    rates = made.model.rates
    learned = rates.per_token * 8000 + rates.per_pair * 8000**2
    assert learned == pytest.approx(5e-5 * 8000 + 4e-10 * 8000**2, rel=0.1)
    assert rates.step == pytest.approx(0.02, rel=0.1)


def test_the_engine_says_how_much_it_had_to_compute() -> None:
    """What was believed uncached was cached: the answer teaches the rate of what was left."""
    made = promises()
    for number in range(200):
        made.send(number, 0, 10_000, 10_000, number * 10.0)
        takes = 0.03 + 1e-4 * 2000 + 1e-9 * (10_000**2 - 8000**2)
        made.end(number, number * 10.0 + takes + 1, Answer(takes + 1, 51, takes, uncached_share=0.2))
    rates = made.model.rates
    assert rates.per_token * 2000 + rates.per_pair * (10_000**2 - 8000**2) == pytest.approx(0.236, rel=0.1)


def test_a_slow_endpoint_is_found_out_by_answers_in_one_piece_too() -> None:
    """Only their whole time is known; it is split as the rates say."""
    made, rng = promises(2), random.Random(2)
    for number in range(1200):
        slot = number % 2
        tokens, output = rng.choice([500, 4000, 16_000]), rng.choice([10, 100, 400])
        seconds = (3 if slot else 1) * (5e-5 * tokens + 0.015 * output) + 0.03
        made.send(number, slot, tokens, tokens, number * 100.0, stream=False)
        made.end(number, number * 100.0 + seconds, Answer(seconds, output))
    found = [at(made, 1e6, slot) for slot in (0, 1)]
    for factor in ("prefill_factor", "decode_factor"):
        assert found[1][factor] / found[0][factor] == pytest.approx(3.0, rel=0.25)


def test_an_endpoint_that_left_takes_its_promises_with_it() -> None:
    """Another one in its slot starts empty, and as fast as the pool."""
    made = promises(2)
    made.send(1, 0, 1000, 1000, 10.0)
    made.adopt({0: "other", 1: "e1"})
    assert at(made, 10.0)["queued"] == 0
    made.end(1, 11.0, Answer(1.0, 20, 0.5))
    assert made.model.observations == 0
    made.adopt({1: "e1"})
    made.scraped(0, 1.0, 0.5, 1000, 12.0)
    made.adopt({1: "e1", 40: "far"})
    made.send(2, 40, 1000, 1000, 12.0)
    assert at(made, 12.0, 40)["queued"] == 1


_event = st.tuples(
    st.sampled_from(["send", "start", "end", "scrape", "look", "leave"]),
    st.integers(0, 2),
    st.integers(0, 30),
    st.integers(1, 50_000),
    st.floats(0, 2),
)


@settings(max_examples=150)
@given(st.lists(_event, max_size=80))
def test_whatever_happens_the_sums_are_those_of_the_requests(
    events: list[tuple[str, int, int, int, float]],
) -> None:
    """Law: nothing is negative, phases add up to what is in flight, and after all ends nothing is left."""
    made, now, names = promises(3), 0.0, ["e0", "e1", "e2"]
    sent: dict[int, int] = {}
    for number, (what, slot, which, tokens, later) in enumerate(events):
        now += later
        if what == "send":
            made.send(number, slot, tokens + which, tokens, now, stream=bool(which % 3))
            sent[number] = slot
        elif what == "start":
            made.start(which, now)
        elif what == "end":
            answer = Answer(later + 0.1, which, later if which % 2 else None) if which % 4 else None
            made.end(which, now, answer)
            sent.pop(which, None)
        elif what == "scrape":
            made.scraped(slot, which % 5, which / 30, 100_000, now)
        elif what == "leave":
            names[slot] += "x"
            made.adopt(dict(enumerate(names)))
            sent = {key: value for key, value in sent.items() if value != slot}
        found = made.promised(np.arange(3), now)
        for name in (
            "tokens",
            "pairs",
            "queued",
            "running",
            "context_tokens",
            "oldest_tokens",
            "oldest_pairs",
        ):
            assert (found.column(name) >= 0).all(), name
        assert (found.column("oldest_tokens") <= found.column("tokens")).all()
        for each in range(3):
            assert found.column("queued")[each] + found.column("running")[each] == sum(
                s == each for s in sent.values()
            )
    for number in list(sent):
        made.end(number, now)
    found = made.promised(np.arange(3), now)
    for name in ("tokens", "pairs", "queued", "running"):
        assert not found.column(name).any(), name


def test_what_the_engine_keeps_waiting_beyond_its_time_is_blocked() -> None:
    """For memory or for a seat: a new one waits for as many ends as there are before it."""
    made = promises(2)
    for number in range(12):
        made.send(number, 0, 1000, 1000, 10.0)
    made.scraped(0, 2.0, 0.99, 20_000, 10.3)
    assert at(made, 10.3)["blocked"] == 0
    made.scraped(0, 2.0, 0.99, 20_000, 20.0)
    found = at(made, 20.0)
    assert (found["blocked"], found["turns"]) == (2, pytest.approx(3 / 10))
    assert at(made, 20.0, 1)["blocked"] == 0
    made.send(20, 0, 1000, 1000, 20.1)
    assert at(made, 20.1)["blocked"] == 3
    assert made.promised(np.arange(2), 20.1).any_blocked
    made.scraped(0, 0.0, 0.9, 20_000, 21.0)
    assert at(made, 21.0)["turns"] == 0
    assert not made.promised(np.arange(2), 21.0).any_blocked


def test_context_is_prompts_or_what_memory_holds_if_that_is_more() -> None:
    """Answers are not counted as they grow, but memory is."""
    made = promises()
    made.send(1, 0, 1000, 100, 10.0)
    assert at(made, 10.0)["context_tokens"] == 1000
    made.scraped(0, 0.0, 0.5, 10_000, 11.0)
    assert at(made, 11.0)["context_tokens"] == 5000


def test_at_its_end_it_is_known_what_was_ahead_of_a_request() -> None:
    """Rates that were guessed too slow had three prompts waiting that were long computed: they teach what each of them took."""
    made = promises()
    sizes = [1000, 4000] * 150
    for number, tokens in enumerate(sizes):
        made.send(number, 0, tokens, tokens, number * 0.15)
    assert at(made, 45.0)["queued"] > 50
    for number, tokens in enumerate(sizes):
        made.end(number, 60.0 + number, Answer(60.0 + number, 51, 0.03 + 2e-5 * tokens))
    rates = made.model.rates
    assert rates.overhead + rates.per_token * 4000 + rates.per_pair * 4000**2 == pytest.approx(0.11, rel=0.15)


def test_prefill_of_others_is_not_taken_for_slow_decoding() -> None:
    """Two endpoints decode at the same pace, but one computes a long prompt during every answer."""
    made, now = promises(2), 0.0
    for number in range(0, 1200, 3):
        now += 100.0
        for slot in (0, 1):
            made.send(number + slot, slot, 1000, 1000, now)
            at(made, now + 0.3, slot)
        made.send(number + 2, 1, 20_000, 20_000, now + 0.3)
        at(made, now + 6.0)
        prefill = 1e-4 * 20_000 + 1e-9 * 4e8
        for slot, stalled in ((0, 0.0), (1, prefill)):
            made.end(number + slot, now + 6.0, Answer(0.13 + 100 * 0.02 + stalled, 101, 0.13))
        made.end(number + 2, now + 6.0, Answer(0.03 + prefill + 2.0, 101, 0.03 + prefill))
    found = [at(made, now + 50.0, slot)["decode_factor"] for slot in (0, 1)]
    assert found[1] / found[0] == pytest.approx(1.0, abs=0.15)


def test_when_room_may_appear_of_which_nobody_tells() -> None:
    """With the next first token that will be presumed; never where first tokens are told."""
    made = promises()
    assert made.next_due(9.0) == inf
    takes = PER_TOKEN * 1000 + PER_PAIR * 1000**2
    made.send(1, 0, 1000, 1000, 10.0)
    made.send(2, 0, 1000, 1000, 10.0)
    assert made.next_due(10.0) == pytest.approx(10.0 + takes)
    assert made.next_due(10.0 + 1.5 * takes) == pytest.approx(10.0 + 2 * takes)
    assert made.next_due(20.0) == inf
    made.end(1, 20.0)
    made.start(2, 20.0)
    made.send(3, 0, 1000, 1000, 21.0)
    assert made.next_due(21.0) == inf


def test_how_many_requests_a_batch_holds_is_found_out() -> None:
    """By those that wait although neither prefill nor memory holds them up; later it is tried whether it holds more."""
    made = promises()
    for number in range(6):
        made.send(number, 0, 10, 10, 10.0)
    made.scraped(0, 2.0, 0.2, 100_000.0, 10.1)
    assert at(made, 10.1)["seats"] == 0
    made.scraped(0, 2.0, 0.2, 100_000.0, 12.0)
    assert at(made, 12.0)["seats"] == 4
    made.scraped(0, 0.0, 0.2, 100_000.0, 13.0)
    assert at(made, 13.0)["seats"] == 6
    made.scraped(0, 0.0, 0.2, 100_000.0, 40.0)
    assert at(made, 40.0)["seats"] == 9


def test_how_many_it_holds_may_be_said() -> None:
    """Then nothing of it is found out, until nobody says it any more."""
    made = promises()
    made.seat(0, 4)
    assert at(made, 10.0)["seats"] == 4
    for number in range(6):
        made.send(number, 0, 10, 10, 10.0)
    made.scraped(0, 4.0, 0.2, 100_000.0, 12.0)
    assert at(made, 12.0)["seats"] == 4
    made.seat(0, 0)
    assert at(made, 12.0)["seats"] == 0
    made.scraped(0, 4.0, 0.2, 100_000.0, 13.0)
    assert at(made, 13.0)["seats"] == 2


def test_a_queue_for_memory_says_nothing_of_seats() -> None:
    """The batch could hold more if there were some."""
    made = promises()
    for number in range(6):
        made.send(number, 0, 10, 10, 10.0)
    made.scraped(0, 2.0, 0.97, 100_000.0, 12.0)
    assert at(made, 12.0)["seats"] == 0


def test_an_endpoint_without_data_goes_by_its_like_from_the_next_scrape_on() -> None:
    """Ends at one server with an accelerator tell of another that was never sent anything."""
    made = promises(3)
    made.model.place({"e0": "L4", "e1": "L4", "e2": ""})
    for number in range(30):
        made.send(number, 0, 4000, 4000, 10.0 * number)
        made.end(number, 10.0 * number + 6.0, Answer(6.0, 20, 4.0))
        made.send(1000 + number, 2, 4000, 4000, 10.0 * number)
        made.end(1000 + number, 10.0 * number + 1.0, Answer(1.0, 20, 0.5))
    assert at(made, 400.0, 1)["prefill_factor"] == 1.0
    made.scraped(1, 0.0, 0.0, 0.0, 400.0)
    found = at(made, 400.0, 1)
    assert found["prefill_factor"] == pytest.approx(at(made, 400.0, 0)["prefill_factor"], rel=0.35)
    assert found["prefill_factor"] > 2 * at(made, 400.0, 2)["prefill_factor"]
    assert found["decode_factor"] > 1.5 * at(made, 400.0, 2)["decode_factor"]
