"""What `igw check` warns of: one file per code that deserves it, and one that does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igw.config.documents import Document, written
from igw.scheduling.concerns import AFFINITY_SCORERS, CODES, LOAD_SCORERS, Concern, concerns
from igw.scheduling.registry import UPSTREAM
from igw.scheduling.resolved import resolve

PAGE = Path(__file__).parents[2] / "docs" / "warnings.md"
HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
SOUND = """
plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]
schedulingProfiles:
- {name: a, plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: prefix-cache-scorer, weight: 3}]}
"""


def found(text: str, interval: float = 0.05, simulators: tuple[Document, ...] = ()) -> list[Concern]:
    """Return the concerns of a file, which has today's head unless it has one."""
    (document,) = written(text if "apiVersion" in text else HEAD + text, "file")
    return concerns(resolve(document), interval, simulators)


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("IGW001", "plugins: [{type: queue-scorer}, {type: latency-scorer}]", "it comes with latency prediction"),
        ("IGW002", SOUND + "data: {}", "is called `dataLayer` now"),
        ("IGW003", "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n" + SOUND, "llm-d.ai/v1alpha1"),
        ("IGW003", SOUND + "parser: {pluginRef: openai-parser}", "requestHandler.parsers"),
        ("IGW003", "plugins: [{type: by-label, parameters: {label: a, validValues: [b]}}, {type: queue-scorer}]", "use `label-selector-filter`"),
        ("IGW003", "plugins: [{type: queue-scorer}, {type: approx-prefix-cache-producer, parameters: {blockSize: 64}}]", "use `blockSizeTokens`"),
        ("IGW004", "plugins: [{type: queue-scorer}, {type: utilization-filter, parameters: {conditions: []}}]", "--allow-experimental-plugins"),
        ("IGW005", SOUND.replace("}]\nsched", "}, {type: decode-filter}]\nsched"), "nothing refers to the plugin `decode-filter`"),
        ("IGW005", SOUND.replace("}]\nsched", "}, {type: approx-prefix-cache-producer, name: x}]\nsched"), "no plugin reads"),
        ("IGW005", SOUND + "requestHandler: {parsers: [{pluginRef: passthrough-parser}, {pluginRef: openai-parser}]}", "`openai-parser` is never asked"),
        ("IGW005", SOUND.replace("}]\nsched", "}, {type: openai-parser, name: x}]\nsched")
         + "requestHandler: {parsers: [{pluginRef: openai-parser}, {pluginRef: x}]}", "`x` is the second of type `openai-parser`"),
        ("IGW006", SOUND.replace("prefix-cache-scorer}]", "prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: x}}]"), "no producer `x`"),
        ("IGW007", SOUND.replace("}]\nsched", "}, {type: approx-prefix-cache-producer, name: x}]\nsched"), "not `x`"),
        ("IGW008", "plugins: [{type: queue-scorer}, {type: precise-prefix-cache-producer, parameters: {kvEventsConfig: {discoverPods: false}}}]",
         "it never hears an engine"),
        ("IGW008", "plugins: [{type: queue-scorer}, {type: precise-prefix-cache-producer}]", "only prompts of token ids match"),
        ("IGW009", "plugins: [{type: prefix-cache-scorer}]", "no scorer and no filter looks at load"),
        ("IGW010", SOUND.replace("weight: 3", "weight: 7"), "affinity weighs 7 and load 2"),
        ("IGW011", SOUND.replace("weight: 3", "weight: 0"), "counts for nothing"),
        ("IGW011", SOUND.replace("weight: 3", "weight: -1"), "prefers what it scores worst"),
        (
            "IGW012",
            "plugins: [{type: queue-scorer}, {type: max-score-picker}]\nschedulingProfiles:\n"
            "- {name: a, plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker, weight: 2}]}",
            "`max-score-picker` is no scorer",
        ),
        (
            "IGW013",
            "plugins: [{type: endpoint-attribute-scorer, parameters: {attributeKey: X, algorithm: {type: linear_lower_is_better}}}]",
            "nothing reports the attribute `X`",
        ),
        (
            "IGW014",
            "plugins: [{type: queue-scorer}, {type: utilization-detector, parameters: {metricsStalenessThreshold: 50ms}}]",
            "not longer than the scrape interval of 0.05 s",
        ),
        ("IGW015", "flowControl: {maxRequests: 5}\n" + SOUND, "nobody waits without the feature gate"),
        ("IGW015", "featureGates: [flowControl=false]\nflowControl: {maxRequests: 5}\nplugins: [{type: marginal-work-scorer}]", "nobody waits"),
        ("IGW015", "plugins: [{type: queue-scorer}, {type: precise-prefix-cache-producer,"
         " parameters: {indexerConfig: {kvBlockIndexConfig: {redisConfig: {address: r}}}}}]", "every picker hears the engines itself"),
        ("IGW015", SOUND.replace("}]\nsched", "}, {type: models-data-source}]\nsched"), "nothing reads it"),
        ("IGW015", SOUND + "dataLayer: {peerDiscovery: {pluginRef: x}}", "nothing uses it"),
        (
            "IGW016",
            "plugins: [{type: queue-scorer}, {type: token-producer}]\nschedulingProfiles:\n"
            "- {name: a, plugins: [{pluginRef: queue-scorer}, {pluginRef: token-producer}]}",
            "`token-producer` (type token-producer) is no filter, scorer or picker",
        ),
        (
            "IGW017",
            "plugins: [{type: queue-scorer}, {type: approx-prefix-cache-producer}, {type: approx-prefix-cache-producer, name: b,"
            " parameters: {lruCapacityPerServer: 7}}]",
            "`b` shares one index",
        ),
        ("IGW018", "", "`max-score-picker` chooses at random"),
    ],
)  # fmt: skip
def test_a_doubtful_file_is_told_so(code: str, text: str, said: str) -> None:
    """With its code, in words, with a place in the file."""
    told = [concern for concern in found(text) if concern.code == code]
    assert any(said in concern.message for concern in told), found(text)
    assert all(concern.where.startswith("file") or "needs" in concern.where for concern in told)


def test_a_sound_file_is_not() -> None:
    """Nothing at all is said of it."""
    assert found(SOUND) == []


@pytest.mark.parametrize(
    "text",
    [
        "plugins: [{type: round-robin-picker}]",
        "plugins: [{type: random-picker}]",
        "plugins: [{type: prefix-cache-scorer}, {type: prefix-cache-affinity-filter}]",
        "plugins: [{type: queue-scorer}, {type: endpoint-attribute-scorer, parameters: {attributeKey: WaitingQueueSize,"
        " algorithm: {type: linear_lower_is_better}}}]",
        "plugins: [{type: queue-scorer}, {type: utilization-detector, parameters: {metricsStalenessThreshold: 200ms}}]",
    ],
)
def test_what_looks_like_it_is_not_told(text: str) -> None:
    """A baseline without scorers, a filter that looks at load, a number that is reported, a threshold that is long enough."""
    codes = {concern.code for concern in found(text)}
    assert not codes & {"IGW009", "IGW013", "IGW014", "IGW018"}


def test_adapters_are_missed_only_where_the_model_servers_are_known() -> None:
    """A simulator says whether it has any."""
    text = "plugins: [{type: queue-scorer}, {type: lora-affinity-scorer}]"

    def simulator(spec: str) -> Document:
        (document,) = written(
            f"apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {{name: s}}\nspec: {spec}", "servers"
        )
        return document

    def told(*simulators: Document) -> set[str]:
        return {concern.code for concern in found(text, simulators=simulators)}

    assert "IGW013" not in told()
    assert "IGW013" in told(simulator("{model: llama}"))
    assert "IGW013" not in told(simulator("{model: llama, maxLoras: 4}"))


def test_a_custom_metric_of_the_extractor_is_reported() -> None:
    """Only where the scraper is told of it."""
    scorer = "{type: endpoint-attribute-scorer, parameters: {attributeKey: X, algorithm: {type: linear_lower_is_better}}}"
    extractor = "{type: core-metrics-extractor, parameters: {engineConfigs: [{name: e, customMetrics: [{attributeKey: X, metricSpec: x}]}]}}"
    text = f"plugins: [{scorer}, {{type: queue-scorer}}, {{type: metrics-data-source}}, {extractor}]\n"
    wired = "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}"
    assert "IGW013" not in {concern.code for concern in found(text + wired)}
    assert "IGW013" in {
        concern.code
        for concern in found(
            text.replace("attributeKey: X, metricSpec", "attributeKey: Y, metricSpec") + wired
        )
    }


def test_kv_memory_is_missed_where_no_model_server_tells_of_it() -> None:
    """TGI does not; one that does is enough."""
    text = "plugins: [{type: kv-cache-utilization-scorer}, {type: queue-scorer}]"

    def simulator(dialect: str) -> Document:
        (document,) = written(
            f"apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {{name: {dialect}}}\nspec: {{model: m, dialect: {dialect}}}",
            "file",
        )
        return document

    def told(*simulators: Document) -> set[str]:
        return {concern.code for concern in found(text, simulators=simulators)}

    assert "IGW013" not in told()
    assert "IGW013" in told(simulator("tgi"))
    assert "IGW013" not in told(simulator("tgi"), simulator("vllm"))


def test_a_longer_scrape_interval_makes_the_default_threshold_stale() -> None:
    """Upstream lets both be set apart."""
    text = "plugins: [{type: queue-scorer}, {type: utilization-detector, parameters: {metricsStalenessThreshold: 200ms}}]"
    assert {concern.code for concern in found(text, interval=0.5)} == {"IGW014"}


def test_every_code_has_a_section() -> None:
    """With its words as the heading, in order, and none that there is not."""
    headings = re.findall(r"^## (IGW\d+): (.+)$", PAGE.read_text(), re.MULTILINE)
    assert dict(headings) == dict(CODES)
    assert headings == sorted(headings)


def test_scorers_are_known_as_load_or_affinity() -> None:
    """All of upstream's but those that are neither."""
    scorers = {kind for kind, known in UPSTREAM.items() if "scorer" in known.roles}
    assert scorers - LOAD_SCORERS - AFFINITY_SCORERS == {"context-length-aware", "no-hit-lru-scorer"}
