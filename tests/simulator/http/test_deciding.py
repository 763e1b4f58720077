"""Which answer a call gets: how long, why it ends, and under which names its blocks can be found again."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.http.call import Call
from igw.simulator.http.deciding import Choice, Decider
from igw.simulator.http.errors import ApiError
from igw.simulator.text import answer, natural_length, tokenize

PROMPT = tokenize("Tell me something about the sea.")


def hashes(tokens: array[int], adapter: str, salt: str) -> tuple[int, ...]:
    """Names of blocks that show what they were made of."""
    return (hash((tuple(tokens), adapter, salt)),)


DECIDER = Decider(1000, hashes)


def choices(adapter: str | None = None, *, decider: Decider = DECIDER, **fields: Any) -> list[Choice]:
    """The answers to a call with these fields."""
    call = Call(**({"model": None, "prompts": (PROMPT,), "max_tokens": None} | fields))
    return decider.choices(call, adapter, every_token=False)


def test_an_answer_has_as_many_tokens_as_were_asked_for() -> None:
    """And the words of its prompt."""
    [choice] = choices(max_tokens=9)
    assert choice.pieces == answer(PROMPT, 9)
    assert (choice.sequence.output_tokens, choice.sequence.finish_reason) == (9, "length")
    assert choice.sequence.prompt_tokens == len(PROMPT)
    assert choice.tokens == PROMPT + tokenize(choice.text)


def test_without_a_limit_the_model_ends_its_answer() -> None:
    """Later when it must be longer, at the end of the model's length when it must not stop."""
    natural = natural_length(PROMPT)
    [choice] = choices()
    assert (choice.sequence.output_tokens, choice.sequence.finish_reason) == (natural, "stop")
    [choice] = choices(min_tokens=natural + 5)
    assert (choice.sequence.output_tokens, choice.sequence.finish_reason) == (natural + 5, "stop")
    [choice] = choices(ignore_eos=True)
    assert (choice.sequence.output_tokens, choice.sequence.finish_reason) == (1000 - len(PROMPT), "length")
    [choice] = choices(decider=Decider(len(PROMPT) + 3, hashes))
    assert (choice.sequence.output_tokens, choice.sequence.finish_reason) == (3, "length")


def test_each_of_several_choices_is_another_answer_with_an_id_of_its_own() -> None:
    """The first is what one alone would be; every prompt is counted once."""
    found = choices(prompts=(PROMPT, tokenize("And?")), n=3, max_tokens=4)
    assert [choice.index for choice in found] == list(range(6))
    assert [choice.first for choice in found] == [True, False, False] * 2
    assert len({choice.text for choice in found}) == 6
    assert len({choice.sequence.id for choice in found}) == 6
    assert found[0].text == choices(max_tokens=4)[0].text


@given(st.integers(1, 40), st.integers(0, 40), st.booleans())
def test_a_stop_string_ends_the_answer_at_the_first_place_that_counts(
    place: int, minimum: int, include: bool
) -> None:
    """Not within the shortest answer that was asked for."""
    whole = answer(PROMPT, 50)
    stop = whole[place]
    [choice] = choices(max_tokens=50, stop=(stop,), min_tokens=minimum, include_stop=include)
    shown = "".join(whole)
    places = [at for at in range(len(shown)) if shown.startswith(stop, at) and at + len(stop) > minimum * 4]
    if not places:
        assert (choice.text, choice.sequence.finish_reason) == (shown, "length")
        return
    assert choice.text == shown[: places[0] + (len(stop) if include else 0)]
    assert (choice.stop_reason, choice.sequence.finish_reason) == (stop, "stop")
    assert choice.sequence.output_tokens == -(-(places[0] + len(stop)) // 4)


def test_a_stop_token_ends_the_answer_and_is_not_shown() -> None:
    """Its id is the reason; the tokens before it count, and so does it."""
    whole = answer(PROMPT, 20)
    [token] = tokenize(whole[6])
    first = whole.index(whole[6])
    [choice] = choices(max_tokens=20, stop_token_ids=(token,))
    assert (choice.stop_reason, choice.sequence.finish_reason) == (token, "stop")
    assert (choice.text, choice.sequence.output_tokens) == ("".join(whole[:first]), first + 1)
    [shown] = choices(max_tokens=20, stop_token_ids=(token,), include_stop=True)
    assert shown.text == "".join(whole[: first + 1])
    [later] = choices(max_tokens=20, stop_token_ids=(token,), stop=(whole[0],))
    assert later.stop_reason == whole[0]


def test_what_must_be_said_is_said_and_cut_by_the_limit() -> None:
    """Four characters to a token."""
    [choice] = choices(said='{"city":"lorem"}')
    assert (choice.text, choice.sequence.finish_reason) == ('{"city":"lorem"}', "stop")
    [short] = choices(said='{"city":"lorem"}', max_tokens=2)
    assert (short.text, short.sequence.finish_reason) == ('{"city":', "length")


def test_model_adapter_and_salt_keep_caches_apart() -> None:
    """All tokens are named under all three."""
    [plain], [tuned], [salted] = choices(), choices("tuned"), choices(cache_salt="mine")
    names = {choice.sequence.block_hashes for choice in (plain, tuned, salted)}
    assert len(names) == 3
    assert (plain.sequence.adapter, tuned.sequence.adapter) == (None, "tuned")


def test_how_a_request_is_scheduled_is_passed_on() -> None:
    """Its priority."""
    [choice] = choices(priority=4)
    assert choice.sequence.priority == 4


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"max_tokens": 1001}, "max_tokens", "max_tokens=1001 cannot be greater than max_model_len=1000"),
        ({"prompts": (PROMPT * 200,)}, "input_tokens", "This model's maximum context length is 1000 tokens"),
    ],
)
def test_what_is_too_long_is_refused(fields: dict[str, Any], param: str, words: str) -> None:
    """Before anything is computed."""
    with pytest.raises(ApiError) as caught:
        choices(**fields)
    assert caught.value.param == param
    assert words in caught.value.message
