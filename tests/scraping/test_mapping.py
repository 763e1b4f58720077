"""Reading pages by a mapping: what is missing, what is broken, and laws about any page."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.facts import Adapters
from igw.scraping.engines.builtin import ENGINES
from igw.scraping.mapping import Engine, named, read
from igw.scraping.report import Report
from tests.scraping.pages import RECORDED, recorded

VLLM = ENGINES["vllm"]


def page(**values: object) -> bytes:
    """Return a page with the given metrics, unlabelled."""
    return "".join(f"vllm:{name} {value}\n" for name, value in values.items()).encode()


def test_what_is_not_on_the_page_is_not_known_and_named() -> None:
    """It is not zero, and the rest is read."""
    report = read(page(num_requests_waiting=2), VLLM)
    assert report == Report(
        2, None, None,
        missing=("vllm:num_requests_running", "vllm:kv_cache_usage_perc", "vllm:cache_config_info"),
    )  # fmt: skip
    assert not report.says_nothing
    assert read(b"", VLLM).says_nothing


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e300", "many", ""])
def test_one_family_that_cannot_be_read_does_not_lose_the_rest(value: str) -> None:
    """It is as if it were not there."""
    report = read(page(num_requests_waiting=value, num_requests_running=3, kv_cache_usage_perc=0.5), VLLM)
    assert (report.waiting, report.running, report.kv_usage) == (None, 3, 0.5)
    assert "vllm:num_requests_waiting" in report.missing


def test_a_share_is_one_at_most() -> None:
    """Engines round."""
    assert read(page(kv_cache_usage_perc=1.0000001), VLLM).kv_usage == 1.0


@pytest.mark.parametrize(
    "labels",
    [
        'block_size="16"',
        'block_size="16",num_gpu_blocks="None"',
        'num_gpu_blocks="5"',
        'block_size="16",num_gpu_blocks="0"',
    ],
)
def test_a_size_that_is_not_told_is_not_known(labels: str) -> None:
    """While vLLM starts it does not know its number of blocks itself."""
    assert read(f"vllm:cache_config_info{{{labels}}} 1\n".encode(), VLLM).kv_capacity_tokens is None


def test_labels_of_a_spec_choose_series() -> None:
    """All of them must have the value; series that fit add up."""
    engine = Engine(
        "e",
        waiting=(named("q", kind="a", model="m"),),
        scalars=(("x", named("q", kind="b")), ("y", named("z"))),
    )
    text = b'q{kind="a",model="m",r="0"} 1\nq{model="m",kind="a",r="1"} 2\nq{kind="b",model="m"} 4\nq{kind="a",model="n"} 8\nq{kind="a"} 16\n'
    report = read(text, engine)
    assert (report.waiting, dict(report.scalars)) == (3, {"x": 4})


def test_blocks_and_their_sizes_are_paired_by_rank() -> None:
    """Engines on one page may have different sizes."""
    text = (
        b'vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="10"} 1\n'
        b'vllm:cache_config_info{engine="1",block_size="32",num_gpu_blocks="100"} 1\n'
    )
    assert read(text, VLLM).kv_capacity_tokens == 160 + 3200


def with_adapters(*combinations: tuple[str, str, float], most: str = "4") -> bytes:
    """Return a page with a series per combination of running and waiting adapters, last so at its value."""
    lines = [
        f'vllm:lora_requests_info{{max_lora="{most}",running_lora_adapters="{running}",'
        f'waiting_lora_adapters="{waiting}"}} {when!r}\n'
        for running, waiting, when in combinations
    ]
    text = 'vllm:num_requests_running{engine="0",model_name="llama"} 1\nvllm:num_requests_waiting 0\n'
    return (text + "".join(lines)).encode()


def test_data_parallel_engines_have_their_adapters_together() -> None:
    """Their series do not say whose they are: those written in the last second count, and each batch has its places."""
    text = with_adapters(("a", "", 99.5), ("b", "c", 100.0), ("d", "", 98.0))
    second = b'vllm:num_requests_running{engine="1",model_name="llama"} 1\n'
    adapters = read(second + text, VLLM).adapters
    assert adapters == Adapters(frozenset("ab"), frozenset("c"), 8, "llama")


@pytest.mark.parametrize(
    ("combinations", "running", "waiting"),
    [
        ([("", "", 1.0)], set(), set()),
        ([("", "", 1.0), ("a", "", 2.0), ("a,b", "c", 3.0)], {"a", "b"}, {"c"}),
        ([("a,b", "c", 1.7953133509e9), ("", "a", 1.7953133510e9), ("b", "", 1.7953133508e9)], set(), {"a"}),
        ([(" a, b ,", ",", 1.0)], {"a", "b"}, set()),
    ],
)
def test_the_newest_combination_of_adapters_counts(
    combinations: list[tuple[str, str, float]], running: set[str], waiting: set[str]
) -> None:
    """There is a series for every one there ever was, in any order; its value is the time when it was last so."""
    adapters = read(with_adapters(*combinations), VLLM).adapters
    assert adapters == Adapters(frozenset(running), frozenset(waiting), 4, "llama")


@pytest.mark.parametrize("most", ["", "many", "-1", "²", "9" * 5000])
def test_a_number_of_adapters_that_is_not_told_is_none(most: str) -> None:
    """An engine of which it is not known how many adapters it takes is not said to have room."""
    adapters = read(with_adapters(("a", "", 1.0), most=most), VLLM).adapters
    assert adapters == Adapters(frozenset({"a"}), frozenset(), 0, "llama")


def test_an_engine_without_adapters_says_nothing_of_them() -> None:
    """The family is not on the page."""
    assert read(page(num_requests_waiting=2, num_requests_running=1), VLLM).adapters is None


engines = st.sampled_from(list(ENGINES.values()))
wanted = sorted({
    spec.name
    for engine in ENGINES.values()
    for spec in (*engine.waiting, *engine.running, *engine.kv_usage, *engine.blocks, *engine.block_size, *engine.lifetime)
})  # fmt: skip
pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([*wanted, b"vllm:lora_requests_info", b"\n", b" ", b"{", b"}", b'="', b'"', b",", b"1", b"-1", b"1e308", b"NaN", b"0.5",
                     b'block_size="16"', b'num_gpu_blocks="99999999999999999999"', b'engine="1"', b"\xff"]),
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map(b"".join), engines)
def test_no_page_whatever_does_harm(garbage: bytes, engine: Engine) -> None:
    """Law: no error, and every number is finite, not negative, a share not above one."""
    report = read(garbage, engine)
    for number in (report.waiting, report.running, report.kv_usage, report.kv_capacity_tokens):
        assert number is None or (math.isfinite(number) and number >= 0)
    assert report.kv_usage is None or report.kv_usage <= 1
    assert report.lifetime is None or math.isfinite(report.lifetime)


@given(
    st.sampled_from(RECORDED), engines, st.integers(0, 80_000), st.integers(0, 400), st.binary(max_size=30)
)
def test_a_real_page_with_a_hole_does_no_harm(
    name: str, engine: Engine, at: int, length: int, filling: bytes
) -> None:
    """Law: pages that were cut, or changed on the way."""
    whole = recorded(name)
    read(whole[: at % len(whole)] + filling + whole[at % len(whole) + length :], engine)


def grouped(text: bytes) -> list[list[bytes]]:
    """Return the lines of a page, one list per name."""
    groups: dict[bytes, list[bytes]] = {}
    for line in text.splitlines():
        if line[:1] != b"#":
            groups.setdefault(line.split(b"{")[0].split(b" ")[0], []).append(line)
    return list(groups.values())


ORDERED = {name: grouped(recorded(name)) for name in RECORDED}


@settings(max_examples=20)
@given(st.sampled_from(RECORDED), st.randoms(use_true_random=False), st.booleans())
def test_order_and_repetition_of_families_do_not_matter(name: str, random: object, twice: bool) -> None:
    """Law: shuffled families, shuffled series in them, and every line twice give the same report."""
    groups = [lines * (1 + twice) for lines in ORDERED[name]]
    for lines in groups:
        random.shuffle(lines)  # type: ignore[attr-defined]
    random.shuffle(groups)  # type: ignore[attr-defined]
    shuffled = b"\n".join([line for lines in groups for line in lines])
    for engine in ENGINES.values():
        assert read(shuffled, engine) == read(recorded(name), engine)
