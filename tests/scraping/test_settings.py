"""What an `EndpointPickerConfig` says of scraping: upstream's grammar, its engines, its errors."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.config.documents import written
from igw.errors import ConfigError
from igw.scheduling.resolved import resolve
from igw.scraping.access import Access
from igw.scraping.engines.builtin import ENGINES
from igw.scraping.exposition import label
from igw.scraping.mapping import Spec, read
from igw.scraping.reader import LABEL_KEYS, Reader
from igw.scraping.settings import Scraping, configured, parsed

_FLAGS = Scraping()
HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
WIRED = "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}\n"


def said(source: str = "{}", extractor: str = "{}", flags: Scraping = _FLAGS) -> Scraping:
    """Return what parameters of the source and of its extractor make of *flags*."""
    text = (
        f"plugins:\n- {{type: metrics-data-source, parameters: {source}}}\n"
        f"- {{type: core-metrics-extractor, parameters: {extractor}}}\n- {{type: queue-scorer}}\n"
    )
    (document,) = written(HEAD + text + WIRED, "file")
    return configured(resolve(document), flags)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("q", Spec(b"q")),
        (" vllm:q ", Spec(b"vllm:q")),
        ("q{}", Spec(b"q")),
        ("q{a=b}", Spec(b"q", ((b"a", "b"),))),
        ('q{a=b, c = "d e" }', Spec(b"q", ((b"a", "b"), (b"c", "d e")))),
        ('q{a="x,y}",b=""}', Spec(b"q", ((b"a", "x,y}"), (b"b", "")))),
        ('q{a="x\\"y\\\\",}', Spec(b"q", ((b"a", 'x"y\\'),))),
    ],
)
def test_a_spec_is_a_name_and_labels(text: str, spec: Spec) -> None:
    """With and without quotes, as upstream's versions have it."""
    assert parsed(text, "here") == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1q",
        "q{",
        "q}",
        "q{a}",
        "q{a=b",
        "q{=b}",
        "q{a=b}c",
        'q{a="b}',
        "q{a=b c=d}x",
        "q{a=1,a=2}",
        "a-b",
    ],
)
def test_what_is_no_spec_is_an_error_with_its_place(text: str) -> None:
    """And a word on what is right."""
    with pytest.raises(ConfigError, match=r"write name or name\{label=value\}") as error:
        parsed(text, "here")
    assert error.value.where == "here"


@given(st.text(max_size=20))
def test_any_text_is_a_spec_or_an_error(text: str) -> None:
    """Law: nothing else happens."""
    with contextlib.suppress(ConfigError):
        assert parsed(text, "here").name


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c_d"]), st.text(st.sampled_from('x ,}{="\\\n'), max_size=6), max_size=3
    )
)
def test_a_spec_finds_the_series_that_is_written_alike(labels: dict[str, str]) -> None:
    """Law: quoted values of a spec are those of the text format."""
    escaped = {
        key: value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        for key, value in labels.items()
    }
    inside = ",".join([f'{key}="{value}"' for key, value in escaped.items()])
    spec = parsed(f"q{{{inside}}}", "here")
    assert dict(spec.matchers) == {key.encode(): value for key, value in labels.items()}
    assert all(label(inside.encode(), key) == value for key, value in spec.matchers)
    assert [value for _, value in spec.read(f"q{{{inside}}} 3\n".encode())] == [3]


def test_without_a_word_flags_and_built_in_engines_count() -> None:
    """Also where the default source was added."""
    (document,) = written(HEAD + "plugins: [{type: queue-scorer}]\n", "file")
    flags = Scraping(0.2, Access("https"))
    assert configured(resolve(document), flags) == flags
    assert said(flags=flags) == flags


def test_the_source_says_where_and_how_often() -> None:
    """What it does not say is as the flags have it."""
    flags = Scraping(0.1, Access(token_file=Path("t"), path="/flags"))
    got = said(
        "{scheme: https, path: /p, port: 9400, insecureSkipVerify: true, caCertPath: /ca, clientCertPath: /c, clientKeyPath: /k, interval: 2s}",
        flags=flags,
    )
    assert got.interval_seconds == 2.0
    assert got.access == Access("https", "/p", 9400, True, Path("/ca"), Path("/c"), Path("/k"), Path("t"))
    assert said("{bearerTokenPath: /b}", flags=flags).access == Access(token_file=Path("/b"), path="/flags")
    assert said("{interval: 1ms}").interval_seconds == 0.05


OWN = """{engineLabelKey: my/engine, defaultEngine: mine, engineConfigs: [{name: mine,
  queuedRequestsSpec: "m_requests{state=queued}", runningRequestsSpec: 'm_requests{state="running"}', kvUsageSpec: m_kv,
  loraSpec: m_lora, cacheInfoSpec: m_info, cacheBlockSizeLabelName: size, cacheNumBlocksLabelName: blocks,
  customMetrics: [{attributeKey: Depth, metricSpec: m_depth}]}]}"""
PAGE = b"""m_requests{state="queued"} 4
m_requests{state="running"} 6
m_kv 0.5
m_lora{max_lora="2",running_lora_adapters="a",waiting_lora_adapters=""} 1
m_info{size="16",blocks="100"} 1
m_depth -3
"""


def test_an_engine_by_configuration_is_read() -> None:
    """Every field of upstream's `engineConfigs`; its label key first, then the older one."""
    engines = said(extractor=OWN).engines
    assert engines.label_keys == ("my/engine", LABEL_KEYS[1])
    report = Reader(engines, {}).read(PAGE, 0.0)
    assert (report.waiting, report.running, report.kv_usage, report.kv_capacity_tokens) == (4, 6, 0.5, 1600)
    assert report.adapters is not None
    assert report.adapters.running == {"a"}
    assert dict(report.scalars) == {"Depth": -3}
    assert report.missing == ()


def test_blocks_may_be_gauges_and_an_empty_spec_leaves_unknown() -> None:
    """As TensorRT-LLM has them; what is switched off is not missing."""
    text = '{engineConfigs: [{name: e, queuedRequestsSpec: q, cacheBlockSizeSpec: "b{k=size}", cacheNumBlocksSpec: "b{k=number}"}]}'
    engine = said(extractor=text).engines.by_name["e"]
    report = read(b'q 1\nb{k="size"} 8\nb{k="number"} 10\n', engine)
    assert (report.waiting, report.running, report.kv_usage, report.kv_capacity_tokens) == (1, None, None, 80)
    assert report.missing == ()


def test_a_built_in_engine_can_be_given_other_names() -> None:
    """It is recognised as before."""
    engines = said(
        extractor="{engineConfigs: [{name: sglang, queuedRequestsSpec: 'sglang:num_grammar_queue_reqs'}]}"
    ).engines
    assert engines.by_name["sglang"].marks == ENGINES["sglang"].marks
    assert set(engines.by_name) == set(ENGINES)
    reader = Reader(engines, {})
    assert reader.read(b"sglang:num_queue_reqs 7\nsglang:num_grammar_queue_reqs 3\n", 0.0).waiting == 3


@pytest.mark.parametrize(
    ("source", "extractor", "where", "problem"),
    [
        ("{scheme: ftp}", "{}", "$.scheme", "ftp"),
        ("{path: metrics}", "{}", "$.path", "a path such as /metrics is expected"),
        ("{port: 0}", "{}", "$.port", "1"),
        ("{interval: soon}", "{}", ".parameters.interval", "is not a duration"),
        ("{clientCertPath: /c}", "{}", ".parameters", "belong together"),
        ("{}", "{engineConfigs: [{name: ''}]}", ".engineConfigs[0].name", "needs a name"),
        ("{}", "{engineConfigs: [{name: default}]}", ".engineConfigs[0].name", "other than `default`"),
        ("{}", "{engineConfigs: [{name: a}, {name: a}]}", ".engineConfigs[1].name", "two engines named `a`"),
        ("{}", "{engineConfigs: [{name: a, queuedRequestSpec: q}]}", "engineConfigs[0]", "queuedRequestSpec"),
        ("{}", "{engineConfigs: [{name: a, kvUsageSpec: 'q{'}]}", ".engineConfigs[0].kvUsageSpec", "is no metric"),
        ("{}", "{defaultEngine: vlm}", ".defaultEngine", "there is no engine `vlm` (did you mean vllm?)"),
        ("{}", "{engineConfigs: [{name: a, customMetrics: [{metricSpec: q}]}]}", ".customMetrics[0].attributeKey", "needs a key"),
        ("{}", "{engineConfigs: [{name: a, customMetrics: [{attributeKey: x}]}]}", ".customMetrics[0].metricSpec", "is no metric"),
        ("{}", "{engineConfigs: [{name: a, customMetrics: [{attributeKey: WaitingQueueSize, metricSpec: q}]}]}",
         ".customMetrics[0].attributeKey", "two metrics with the key"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_an_error_with_its_place(
    source: str, extractor: str, where: str, problem: str
) -> None:
    """Of the same class as upstream's."""
    with pytest.raises(ConfigError) as error:
        said(source, extractor)
    assert where in error.value.where
    assert problem in str(error.value)


def test_every_source_is_a_page_with_an_extractor_of_its_own() -> None:
    """As upstream runs them one after another; the first is the engine's."""
    (document,) = written(
        HEAD
        + """
plugins:
- {type: metrics-data-source, name: engine, parameters: {interval: 100ms}}
- {type: metrics-data-source, name: exporter, parameters: {port: 9400, interval: 10s}}
- {type: core-metrics-extractor}
- type: core-metrics-extractor
  name: heat
  parameters:
    defaultEngine: exporter
    engineConfigs: [{name: exporter, customMetrics: [{attributeKey: Heat, metricSpec: celsius}]}]
- {type: queue-scorer}
dataLayer:
  sources:
  - {pluginRef: engine, extractors: [{pluginRef: core-metrics-extractor}]}
  - {pluginRef: exporter, extractors: [{pluginRef: heat}]}
""",
        "file",
    )
    found = configured(resolve(document), Scraping(access=Access(scheme="https")))
    first, second = found.pages
    assert (first.interval_seconds, first.access.port, first.engines.default) == (0.1, 0, None)
    assert (second.interval_seconds, second.access.port, second.engines.default) == (10.0, 9400, "exporter")
    assert second.access.scheme == "https"
    assert second.further == ()
