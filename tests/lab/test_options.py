"""What a user may set, and the plan that follows; every mistake has its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab.options import Options, plan
from igw.lab.scenario import Add, Lose, Restore, Scenario, Slow

TRACE = """\
{"timestamp": 0, "input_length": 600, "output_length": 10, "hash_ids": [0, 1]}
{"timestamp": 3000, "input_length": 700, "output_length": 10, "hash_ids": [0, 2]}
{"timestamp": 6000, "input_length": 800, "output_length": 10, "hash_ids": [0, 3]}
{"timestamp": 9000, "input_length": 900, "output_length": 10, "hash_ids": [0, 4]}
"""


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A trace of four requests."""
    path = tmp_path / "four.jsonl"
    path.write_text(TRACE)
    return str(path)


def scenario(options: Options, files: tuple[Path, ...] = ()) -> Scenario:
    """Return the first case's scenario."""
    return plan(options, files).cases[0].scenario(0)


def starts(options: Options) -> list[float]:
    """Return when sessions start."""
    return [session.start_seconds for session in scenario(options).workload.sessions]


def test_a_trace_alone_is_enough(trace: str) -> None:
    """Three policies and the bound, three seeds, eight servers, a tenth of warm-up."""
    found = plan(Options(trace=trace))
    assert found.policies == ("round-robin", "upstream-default", "default", "clairvoyant-greedy")
    assert found.seeds == (0, 1, 2)
    assert (found.objectives.ttft_seconds, found.objectives.tpot_seconds, found.objectives.e2e_seconds) == (
        2,
        0.05,
        None,
    )
    (case,) = found.cases
    assert case.name == "four"
    made = case.scenario(1)
    assert sum(spec.replicas for spec in made.servers) == 8
    assert made.warmup_share == 0.1
    assert len(made.workload.sessions) == 4


def test_the_bound_can_be_left_out_or_chosen(trace: str) -> None:
    """It is not added to one that is named, and a policy named twice runs once."""
    assert plan(Options(trace=trace, policy="random", clairvoyant=False)).policies == ("random",)
    chosen = plan(Options(trace=trace, policy="random, random,clairvoyant-ttft"))
    assert chosen.policies == ("random", "clairvoyant-ttft")


def test_several_rates_are_several_cases(trace: str) -> None:
    """With names that say so."""
    found = plan(Options(trace=trace, rate="0.5, 1,2"))
    assert [case.rate for case in found.cases] == [0.5, 1, 2]
    assert [case.name for case in found.cases] == [
        "four at 0.5 times its rate",
        "four",
        "four at 2 times its rate",
    ]
    assert found.cases[2].scenario(0).workload.sessions[-1].start_seconds == 4.5


def test_a_workload_is_cut_thinned_and_bent(trace: str) -> None:
    """Each option does what its name says."""
    assert starts(Options(trace=trace)) == [0, 3, 6, 9]
    assert starts(Options(trace=trace, until="5s")) == [0, 3]
    assert starts(Options(trace=trace, requests=3)) == [0, 3, 6]
    assert 0 < len(starts(Options(trace=trace, thin=0.8))) < 4
    assert len(starts(Options(trace=trace, users=2))) == 2
    assert len(starts(Options(trace=trace, max_context=715))) == 2
    ramped = starts(Options(trace=trace, ramp="0.5:2"))
    assert ramped[1] > 3
    assert starts(Options(trace=trace, burst=4))[-1] == pytest.approx(9)


def test_what_happens_is_read_from_a_line(trace: str) -> None:
    """Times as durations or seconds."""
    events = ["lose:3@10m", "restore:3@720", "add@1m30s", "slow:2:0.3@100s-300s"]
    lose, restore, add, slow = scenario(Options(trace=trace, event=events)).events
    assert lose == Lose(3, 600)
    assert restore == Restore(3, 720)
    assert isinstance(add, Add)
    assert (add.spec.replicas, add.at_seconds) == (1, 90)
    assert slow == Slow(2, 0.3, 100, 300)


def test_servers_may_be_those_of_a_file(trace: str, tmp_path: Path) -> None:
    """Mixed ones, too."""
    file = tmp_path / "servers.yaml"
    pieces = [
        f"apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {{name: s{n}}}\nspec:\n  model: m\n  replicas: {n}\n"
        f"  hardware: {{calibration: llama-3.1-8b, accelerator: {accelerator}}}\n"
        for n, accelerator in ((1, "H100"), (2, "A100"))
    ]
    file.write_text("---\n".join(pieces))
    found = scenario(Options(trace=trace), (file,))
    assert [spec.replicas for spec in found.servers] == [1, 2]
    with pytest.raises(ConfigError, match="no object of kind Simulator"):
        plan(Options(trace=trace), (Path(__file__).parents[2] / "examples" / "policies",))


def test_a_suite_is_played_whole_or_in_part() -> None:
    """By the names of its scenarios."""
    assert len(plan(Options(suite="policy")).cases) == 22
    (one,) = plan(Options(suite="policy", scenario="ladder-20")).cases
    assert one.name == "ladder-20"


@pytest.mark.parametrize(
    ("options", "where", "problem", "hint"),
    [
        ({}, "--trace", "nothing to replay", "--suite"),
        ({"trace": "gone.jsonl"}, "trace gone.jsonl", "no such file", "shared-prefix"),
        ({"policy": " , "}, "--policy", "no policy", "at least one"),
        ({"policy": "round-robbin"}, "--policy", "no policy `round-robbin`", "round-robin"),
        ({"policy": "mine.yaml"}, "mine.yaml", "", ""),
        ({"rate": "fast"}, "--rate", "`fast` is no number", ""),
        ({"rate": "0"}, "--rate", "too small", "above 0"),
        ({"until": "soon"}, "--until", "`soon` is no time", "1m30s"),
        ({"until": "0"}, "--trace", "no request is left", "--until"),
        ({"ramp": "2"}, "--ramp", "is no number", ""),
        ({"warmup": "100%"}, "--warmup", "nothing to count", "less than 100%"),
        ({"warmup": "x%"}, "--warmup", "no number", ""),
        ({"event": ["explode:3@10"]}, "--event", "`explode:3@10` is no event", "lose:SERVER@TIME"),
        ({"event": ["lose:8@10"]}, "--event", "there is no server 8", ""),
        ({"slo_ttft": "quick"}, "--slo-ttft", "no time", "90s"),
        ({"suite": "policy"}, "--suite", "has its own traces", "leave --trace out"),
        ({"suite": "polici", "trace": ""}, "suite", "is not known", "policy"),
        (
            {"suite": "policy", "trace": "", "scenario": "ladder-21"},
            "--scenario",
            "has no `ladder-21`",
            "ladder-20",
        ),
        ({"option": {"users": "3"}}, "option 'users' of mooncake", "not known", ""),
    ],
)
def test_a_mistake_has_a_sentence_that_names_the_option(
    trace: str, options: dict[str, object], where: str, problem: str, hint: str
) -> None:
    """With the cure or the nearest name."""
    wanted = {"trace": trace} if options else {}
    with pytest.raises(ConfigError) as caught:
        plan(Options(**(wanted | options)))  # type: ignore[arg-type]
    assert where in caught.value.where
    assert problem in caught.value.problem
    assert hint in (caught.value.hint or "")
