"""The metrics page against one recorded from vLLM 0.32."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.vllm import Histogram, Histograms, Page, length_buckets

RECORDED = Path(__file__).parent / "data" / "vllm-0.32.0-metrics.txt"
CONFIG = EngineConfig(StepTime.load(), 1000, max_model_len=8192)


def families(text: str) -> dict[str, Metric]:
    """The families of a page by name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def page(engine: Engine, histograms: Histograms, model: str = "m") -> dict[str, Metric]:
    """Our page, parsed by the official library."""
    return families(Page(model, CONFIG, histograms).render(engine.statistics()).decode())


def test_every_family_is_one_of_vllm_with_the_same_type_labels_and_help() -> None:
    """Ours are a subset of the recorded ones; so are the values of labels other than the model's name and sizes."""
    recorded = families(RECORDED.read_text())
    ours = page(Engine(CONFIG), Histograms("m", 8192))
    assert len(ours) == 19
    for name, family in ours.items():
        twin = recorded[name]
        assert (family.type, family.documentation) == (twin.type, twin.documentation)
        assert {s.name for s in family.samples} <= {s.name for s in twin.samples}
        assert {frozenset(s.labels) for s in family.samples} == {frozenset(s.labels) for s in twin.samples}


@pytest.mark.parametrize("label", ["le", "reason", "finished_reason"])
def test_buckets_and_reasons_are_those_of_vllm(label: str) -> None:
    """For a model of the recorded length."""
    recorded, ours = families(RECORDED.read_text()), page(Engine(CONFIG), Histograms("m", 8192))
    for name, family in ours.items():
        values = [sample.labels.get(label) for sample in family.samples]
        assert values == [
            s.labels.get(label) for s in recorded[name].samples if not s.name.endswith("_created")
        ]


def test_the_page_tells_what_the_engine_does() -> None:
    """One running, one waiting, and the tokens so far."""
    engine, histograms = Engine(EngineConfig(StepTime.load(), 1000, max_num_seqs=1)), Histograms("m", 8192)
    for name in "ab":
        engine.submit(Sequence(name, 100, 10), 0.0)
    step = engine.begin_step(0.0)
    assert step is not None
    engine.finish_step(step)
    values = {
        sample.name.removeprefix("vllm:"): sample.value
        for family in page(engine, histograms).values()
        for sample in family.samples
        if set(sample.labels) == {"engine", "model_name"}
    }
    assert values["num_requests_running"] == 1
    assert values["num_requests_waiting"] == 1
    assert values["prompt_tokens_total"] == 100
    assert values["generation_tokens_total"] == 1
    assert values["kv_cache_usage_perc"] == pytest.approx(7 / 1000)


def test_cache_config_has_the_sizes_schedulers_read() -> None:
    """As labels, like vLLM's."""
    [sample] = page(Engine(CONFIG), Histograms("m", 8192))["vllm:cache_config_info"].samples
    assert (sample.labels["block_size"], sample.labels["num_gpu_blocks"]) == ("16", "1000")
    assert sample.labels["kv_cache_size_tokens"] == "16000"


def test_a_histogram_counts_cumulatively_and_bounds_are_inclusive() -> None:
    """`le` means less or equal."""
    histogram = Histogram("h", "Help.", (1.0, 2.0), 'engine="0",model_name="m"')
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    [family] = text_string_to_metric_families("".join(histogram.render()))
    assert [sample.value for sample in family.samples] == [2, 3, 4, 4, 12.0]


def test_a_finished_sequence_is_in_every_distribution_per_request() -> None:
    """Two seconds in all, the first token after one, eleven tokens."""
    histograms = Histograms("m", 8192)
    histograms.finished(
        Emission(Sequence("a", 7, 11), 1, 11, 0, 0.25), arrived=10.0, first_token=11.0, now=12.0
    )
    ours = page(Engine(CONFIG), histograms)

    def total(name: str) -> float:
        [sample] = [s for s in ours[f"vllm:{name}"].samples if s.name.endswith("_sum")]
        return sample.value

    assert total("e2e_request_latency_seconds") == 2.0
    assert total("request_time_per_output_token_seconds") == pytest.approx(0.1)
    assert total("request_prompt_tokens") == 7
    assert total("request_generation_tokens") == 11
    assert total("request_queue_time_seconds") == 0.25


def test_a_model_name_with_quotes_stays_parseable() -> None:
    """Label values are escaped."""
    name = 'a"b\\c'
    sample = page(Engine(CONFIG), Histograms(name, 8192), name)["vllm:num_requests_running"].samples[0]
    assert sample.labels["model_name"] == name


def test_length_buckets_stop_at_the_models_length() -> None:
    """1-2-5 series."""
    assert length_buckets(8192)[-3:] == (1000.0, 2000.0, 5000.0)
    assert length_buckets(1) == (1.0,)
