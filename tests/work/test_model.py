"""What is learned from finished requests."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.work.model import Observation, WorkModel

PER_TOKEN, PER_PAIR, OVERHEAD = 6e-5, 4e-10, 0.04


def seen(rng: random.Random, endpoint: str = "a", slow: float = 1.0, **values: float) -> Observation:
    """Return a request as an accelerator with those rates would have served it."""
    tokens = rng.choice([200.0, 1000.0, 5000.0, 20_000.0, 60_000.0])
    running, context = rng.uniform(1, 40), rng.uniform(1e3, 3e5)
    ttft = OVERHEAD + slow * (PER_TOKEN * tokens + PER_PAIR * tokens**2)
    step = slow * (0.012 + 1e-4 * running + 5e-8 * context)
    usual = {
        "endpoint": endpoint, "tokens": tokens, "pairs": tokens**2, "ttft_seconds": ttft, "e2e_seconds": ttft + 99 * step,
        "output_tokens": 100, "running": running, "context_tokens": context, "kv_usage": 0.5,
    }  # fmt: skip
    return Observation(**(usual | values))  # type: ignore[arg-type]


def prefill(model: WorkModel, endpoint: str, tokens: float) -> float:
    """Return what the model thinks prefill of *tokens* takes."""
    rates = model.rates
    return model.factor(endpoint)[0] * (rates.per_token * tokens + rates.per_pair * tokens**2)


def token(model: WorkModel, endpoint: str, running: float, context: float) -> float:
    """Return what the model thinks one output token takes."""
    rates = model.rates
    step = rates.step + rates.per_sequence * running + rates.per_context_token * context
    return model.factor(endpoint)[1] * step


def true(tokens: float, slow: float = 1.0) -> float:
    """Return what it takes."""
    return slow * (PER_TOKEN * tokens + PER_PAIR * tokens**2)


def test_before_the_first_request_the_rates_are_sensible() -> None:
    """Ten thousand tokens a second, attention equal at a hundred thousand, 20 ms a token."""
    rates = WorkModel().rates
    assert rates.per_token == pytest.approx(1e-4)
    assert rates.per_pair * 1e5 == pytest.approx(rates.per_token)
    assert rates.step == 0.02
    assert WorkModel().output_tokens("m") == 200


@pytest.mark.parametrize("wrong", [0.1, 1.0, 10.0])
def test_a_prior_ten_times_off_is_overcome_within_a_few_requests(wrong: float) -> None:
    """An accelerator ten times slower or faster than the first guess is priced within a third after twenty."""
    model, rng = WorkModel(), random.Random(1)
    for _ in range(20):
        model.learn(seen(rng, slow=wrong))
    for tokens in (5_000, 20_000):
        assert prefill(model, "a", tokens) == pytest.approx(true(tokens, wrong), rel=0.35)


def test_the_rates_converge() -> None:
    """To within five per cent, prefill and decoding."""
    model, rng = WorkModel(), random.Random(2)
    for _ in range(600):
        model.learn(seen(rng))
    for tokens in (1_000, 5_000, 20_000, 60_000):
        assert prefill(model, "a", tokens) == pytest.approx(true(tokens), rel=0.05)
    assert token(model, "a", 10, 5e4) == pytest.approx(0.012 + 1e-3 + 2.5e-3, rel=0.1)
    assert token(model, "a", 35, 2.5e5) == pytest.approx(0.012 + 3.5e-3 + 12.5e-3, rel=0.1)
    assert model.decode_seconds == pytest.approx(99 * 0.0216, rel=0.2)


def test_unequal_hardware_separates_by_itself() -> None:
    """One in four is three times slower; a new endpoint is taken for like the others, and not for like the first guess."""
    model, rng = WorkModel(), random.Random(3)
    for number in range(800):
        endpoint, slow = ("slow", 3.0) if number % 4 == 0 else (f"fast{number % 4}", 1.0)
        model.learn(seen(rng, endpoint, slow))
    for endpoint, slow in (("slow", 3.0), ("fast1", 1.0)):
        assert prefill(model, endpoint, 20_000) == pytest.approx(true(20_000, slow), rel=0.2)
    assert model.factor("slow")[1] / model.factor("fast1")[1] == pytest.approx(3.0, rel=0.2)
    assert model.factor("new") == (1.0, 1.0)


def test_an_endpoint_without_data_is_like_those_with_its_accelerator() -> None:
    """Whether it is new or its like have left; with another accelerator, or without a name for it, it is like the pool."""
    model, rng = WorkModel(), random.Random(5)
    model.place({"l4": "L4", "h100": "H100", "h100-2": "H100", "nameless": ""})
    for number in range(600):
        endpoint, slow = (("l4", 3.0), ("h100", 1.0), ("h100-2", 1.0))[number % 3]
        model.learn(seen(rng, endpoint, slow))
    model.forget("l4")
    model.place({"h100": "H100", "h100-2": "H100", "new": "L4", "other": "A100", "nameless": ""})
    assert prefill(model, "new", 20_000) == pytest.approx(true(20_000, 3.0), rel=0.2)
    assert token(model, "new", 10, 5e4) == pytest.approx(3 * (0.012 + 1e-3 + 2.5e-3), rel=0.2)
    assert model.factor("other") == model.factor("nameless") == model.factor("l4") == (1.0, 1.0)
    model.learn(seen(rng, "new", 3.0))
    assert prefill(model, "new", 20_000) == pytest.approx(true(20_000, 3.0), rel=0.2), "it starts from there"
    model.place({"h100": "H100", "h100-2": "H100", "new": "H100"})
    assert model.factor("new") == pytest.approx(model.factor("h100"), rel=0.2), "it is another machine now"


def test_an_endpoint_that_left_is_forgotten() -> None:
    """Another one under its address starts from the pool's rates."""
    model, rng = WorkModel(), random.Random(4)
    for _ in range(50):
        model.learn(seen(rng, "slow", 3.0))
        model.learn(seen(rng, "fast"))
    assert model.factor("slow")[0] > 1.2
    model.forget("slow")
    assert model.factor("slow") == (1.0, 1.0)
    model.forget("never seen")


def test_outliers_move_little() -> None:
    """One answer in twenty waits a minute for something else."""
    model, rng = WorkModel(), random.Random(5)
    for number in range(600):
        model.learn(seen(rng, **({"ttft_seconds": 60.0, "e2e_seconds": 63.0} if number % 20 == 0 else {})))
    assert prefill(model, "a", 20_000) == pytest.approx(true(20_000), rel=0.25)


def test_waiting_for_memory_is_not_taken_for_prefill() -> None:
    """A late first token on an endpoint whose memory was full teaches nothing; one in time does."""
    model, rng = WorkModel(), random.Random(6)
    for _ in range(300):
        model.learn(seen(rng))
    before = model.rates.per_token
    for _ in range(100):
        model.learn(seen(rng, ttft_seconds=30.0, e2e_seconds=33.0, kv_usage=0.97))
    assert model.rates.per_token == pytest.approx(before, rel=1e-6)


def test_short_answers_say_nothing_of_decoding() -> None:
    """But their length counts."""
    model, rng = WorkModel(), random.Random(7)
    for _ in range(300):
        model.learn(seen(rng, output_tokens=1, e2e_seconds=100.0, ttft_seconds=0.1, model="m"))  # type: ignore[arg-type]
    assert model.rates.step == 0.02
    assert model.output_tokens("m") < 30
    assert model.output_tokens("other") == 200


def test_names_that_clients_invent_do_not_fill_the_memory() -> None:
    """A thousand at most are told apart."""
    model, rng = WorkModel(), random.Random(8)
    for number in range(1100):
        model.learn(seen(rng, output_tokens=10, model=f"m{number}"))  # type: ignore[arg-type]
    assert model.output_tokens("m999") < 200
    assert model.output_tokens("m1099") == 200


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(1, 1e6),
            st.floats(0, 600),
            st.floats(0, 600),
            st.integers(0, 5000),
            st.floats(0, 300),
            st.floats(0, 1e7),
        ),
        max_size=60,
    )
)
def test_whatever_it_sees_it_stays_finite_and_positive(
    observations: list[tuple[float, float, float, int, float, float]],
) -> None:
    """Also zeros and nonsense."""
    model = WorkModel()
    for tokens, ttft, more, output, running, context in observations:
        model.learn(Observation("a", tokens, tokens**2, ttft, ttft + more, output, running, context, 0.5))
    rates = [getattr(model.rates, name) for name in model.rates.__struct_fields__]
    assert all(0 <= rate < 1e6 for rate in rates)
    assert all(0.01 < factor < 200 for factor in model.factor("a"))
    assert prefill(model, "a", 1000) > 0
