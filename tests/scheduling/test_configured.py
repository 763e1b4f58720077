"""`EndpointPickerConfig` -> scheduler: what a good file makes, and what a bad one is told."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from igw.config import documents
from igw.errors import ConfigError
from igw.scheduling.api import Picker
from igw.scheduling.configured import scheduler
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.random_order import RandomPicker
from igw.scheduling.pickers.round_robin import RoundRobinPicker
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.queue import QueueScorer

HEAD = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
"""
PRICING = "plugins: [{type: marginal-work-scorer}]\n"
"""Requests wait by a file that prices work, whether the gate is written or not."""


def made(folder: Path, text: str) -> Scheduler:
    """Return the scheduler that a file with *text* describes."""
    path = folder / "picker.yaml"
    path.write_text(HEAD + textwrap.dedent(text))
    (document,) = documents.read([path])
    return scheduler(document)


def test_a_file_written_for_upstream_gives_its_profile(tmp_path: Path) -> None:
    """Names, weights and parameters are those of the file; the handler has nothing to do with one profile."""
    got = made(
        tmp_path,
        """
        metadata: {name: mine}
        plugins:
        - type: single-profile-handler
        - type: queue-scorer
        - type: prefix-cache-scorer
          name: prefix
        - type: max-score-picker
          parameters: {maxNumOfEndpoints: 3}
        schedulingProfiles:
        - name: default
          plugins:
          - {pluginRef: prefix, weight: 3}
          - {pluginRef: queue-scorer}
          - {pluginRef: max-score-picker}
        """,
    )
    assert [
        (weighted.name, weighted.scorer.type, weighted.weight) for weighted in got.profiles["default"].scorers
    ] == [
        ("prefix", "prefix-cache-scorer", 3.0),
        ("queue-scorer", "queue-scorer", 1.0),
    ]
    assert got.profiles["default"].picker == MaxScorePicker(max_num_of_endpoints=3)


def test_without_profiles_every_plugin_takes_part(tmp_path: Path) -> None:
    """Upstream's rule: one profile with all of them, weights 1."""
    got = made(
        tmp_path,
        "plugins: [{type: queue-scorer}, {type: round-robin-picker}, {type: single-profile-handler}]",
    )
    assert [(weighted.scorer, weighted.weight) for weighted in got.profiles["default"].scorers] == [
        (QueueScorer(), 1.0)
    ]
    assert isinstance(got.profiles["default"].picker, RoundRobinPicker)


@pytest.mark.parametrize(
    ("plugins", "picker"),
    [
        ("[{type: queue-scorer}]", MaxScorePicker()),
        ("[{type: queue-scorer}, {type: random-picker}]", RandomPicker()),
        (
            "[{type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}, {type: random-picker}]",
            MaxScorePicker(2),
        ),
    ],
)
def test_a_profile_without_a_picker_is_given_one(tmp_path: Path, plugins: str, picker: Picker) -> None:
    """The first that is configured, in file order; else the best score wins."""
    got = made(tmp_path, f"plugins: {plugins}\nschedulingProfiles: [{{name: default}}]\n")
    assert got.profiles["default"].picker == picker
    assert got.profiles["default"].scorers == ()


def test_an_empty_file_is_a_random_choice(tmp_path: Path) -> None:
    """Nothing configured scores nothing, and ties break at random."""
    got = made(tmp_path, "")
    assert got.profiles == Scheduler.of((), MaxScorePicker()).profiles
    assert got.plugins.producers == ()


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        pytest.param(
            "plugin: []", "$", "there is no field `plugin` (did you mean plugins?)", id="unknown field"
        ),
        pytest.param(
            "plugins: [{type: queue-scorer, weight: 2}]",
            "$.plugins[0]", "there is no field `weight` (known: name, parameters, type)", id="field of another place",
        ),
        pytest.param(
            "plugins: [{name: q}]", "$.plugins[0]", "the required field `type` is missing", id="no type"
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}, {type: que-scorer}]",
            "$.plugins[1].type", "there is no plugin type `que-scorer` (did you mean queue-scorer?)", id="unknown type",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}, {type: queue-scorer}]",
            "$.plugins[1].name", "there are two plugins named `queue-scorer`", id="same name twice",
        ),
        pytest.param(
            "plugins: [{type: max-score-picker, parameters: {maxNumEndpoints: 2}}]",
            "$.plugins[0].parameters $",
            "there is no field `maxNumEndpoints` (did you mean maxNumOfEndpoints?)", id="unknown parameter",
        ),
        pytest.param(
            "plugins: [{type: max-score-picker, parameters: {maxNumOfEndpoints: two}}]",
            "$.plugins[0].parameters $.maxNumOfEndpoints", "expected `int`, got `str`, found 'two'", id="bad parameter",
        ),
        pytest.param(
            "plugins: [{type: round-robin-picker, parameters: {turn: 1}}]",
            "$.plugins[0].parameters $",
            "there is no field `turn` (known: maxNumOfEndpoints)", id="state is no parameter",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer, parameters: {threshold: 2}}]",
            "$.plugins[0].parameters $", "there is no field `threshold`", id="parameter of a plugin that has none",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorers}]}]",
            "$.schedulingProfiles[0].plugins[0].pluginRef",
            "there is no plugin `queue-scorers` (did you mean queue-scorer?)", id="unknown reference",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: a, plugins: [{weight: 2}]}]",
            "$.schedulingProfiles[0].plugins[0].pluginRef", "the name of a plugin is expected, found none", id="no reference",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\n"
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: heavy}]}]",
            "$.schedulingProfiles[0].plugins[0].weight", "expected `float | null`, got `str`, found 'heavy'", id="bad weight",
        ),
        pytest.param(
            "schedulingProfiles: [{plugins: []}]",
            "$.schedulingProfiles[0].name", "a scheduling profile needs a name", id="profile without a name",
        ),
        pytest.param(
            "schedulingProfiles: [{name: prefill}, {name: decode}]",
            "$.schedulingProfiles",
            "there are 2 scheduling profiles and no profile handler that chooses among them", id="two profiles, no handler",
        ),
        pytest.param(
            "plugins: [{type: single-profile-handler}]\nschedulingProfiles: [{name: prefill}, {name: decode}]",
            "$.plugins[0].type", "`single-profile-handler` runs one scheduling profile, there are 2", id="two profiles for one",
        ),
        pytest.param(
            "plugins: [{type: single-profile-handler}, {type: single-profile-handler, name: b}]",
            "$.plugins[1].type", "there can be only one profile handler", id="two handlers",
        ),
        pytest.param(
            "schedulingProfiles: [{name: a}, {name: a}]",
            "$.schedulingProfiles[1].name", "there are two scheduling profiles named `a`", id="same profile twice",
        ),
        pytest.param(
            "plugins: [{type: max-score-picker}, {type: random-picker}]",
            "$.plugins[1]", "a profile has one picker, this is the second", id="two pickers of everything",
        ),
        pytest.param(
            "plugins: [{type: max-score-picker}, {type: random-picker}]\n"
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: random-picker}, {pluginRef: max-score-picker}]}]",
            "$.schedulingProfiles[0].plugins[1]", "(the first is `random-picker`)", id="two pickers",
        ),
        pytest.param(
            "featureGates: [dataLayr]", "$.featureGates[0]", "there is no feature gate `dataLayr`", id="unknown gate",
        ),
        pytest.param(
            "flowControl: {saturationDetector: {pluginRef: ''}}",
            "$.flowControl.saturationDetector.pluginRef", "found none", id="empty detector",
        ),
        pytest.param(
            "flowControl: {saturationDetector: {pluginRef: concurrency-detector}}",
            "$.flowControl.saturationDetector.pluginRef", "there is no plugin `concurrency-detector`", id="unlisted detector",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\nflowControl: {saturationDetector: {pluginRef: queue-scorer}}",
            "$.flowControl.saturationDetector.pluginRef", "is no saturation detector", id="no detector",
        ),
        pytest.param(
            "requestHandler: {parsers: [{pluginRef: openai}]}",
            "$.requestHandler.parsers[0].pluginRef", "(did you mean openai-parser?)", id="unknown parser",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\nparser: {pluginRef: queue-scorer}",
            "$.parser.pluginRef", "`queue-scorer` (type queue-scorer) is no parser", id="no parser",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: queue-scorer}]}",
            "$.dataLayer.sources[0].pluginRef", "is no data source", id="no source",
        ),
        pytest.param(
            "plugins: [{type: metrics-data-source}]\n"
            "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: x}]}]}",
            "$.dataLayer.sources[0].extractors[0].pluginRef", "there is no plugin `x`", id="unknown extractor",
        ),
        pytest.param(
            "plugins: [{type: models-data-source}, {type: core-metrics-extractor}]\n"
            "dataLayer: {sources: [{pluginRef: models-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}",
            "$.dataLayer.sources[0].extractors[0].pluginRef",
            "`core-metrics-extractor` cannot read what `models-data-source` brings", id="extractor of another source",
        ),
        pytest.param(
            "plugins: [{type: metrics-data-source}, {type: core-metrics-extractor}, {type: core-metrics-extractor, name: b}]\n"
            "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: b}, {pluginRef: core-metrics-extractor}]}]}",
            "$.dataLayer.sources[0].extractors[1].pluginRef", "there are two extractors of type", id="same extractor twice",
        ),
        pytest.param(
            "plugins: [{type: k8s-notification-source, name: a, parameters: {version: v1, kind: Pod}},"
            " {type: k8s-notification-source, name: b, parameters: {version: v1, kind: Pod}}]\n"
            "dataLayer: {sources: [{pluginRef: a}, {pluginRef: b}]}",
            "$.dataLayer.sources[1].pluginRef", "`b` watches the same objects as `a`", id="same objects twice",
        ),
        pytest.param(
            "plugins: [{type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}]",
            "$.plugins[0].parameters.deciders.prefill", "there is no plugin `prefix-based-pd-decider`", id="undeclared decider",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}, {type: pd-profile-handler, parameters: {deciderPluginName: queue-scorer}}]",
            "$.plugins[1].parameters.deciderPluginName", "`queue-scorer` (type queue-scorer) is no decider", id="no decider",
        ),
        pytest.param(
            "dataLayer: {injectDefaults: false}",
            "$.dataLayer.injectDefaults", "there would be no data source at all", id="no sources at all",
        ),
        pytest.param(
            "dataLayer: {crossReplicaSyncerPluginRef: x}",
            "$.dataLayer.crossReplicaSyncerPluginRef", "does not tell other replicas anything", id="no syncer",
        ),
        pytest.param(
            "featureGates: [flowControl]\nflowControl: {priorityBands: [{priority: 1, fairnessPolicyRef: fair}]}",
            "$.flowControl.priorityBands[0].fairnessPolicyRef", "there is no plugin `fair`", id="missing policy",
        ),
        pytest.param(
            "featureGates: [flowControl]\nflowControl: {usageLimitPolicyPluginRef: fcfs-ordering-policy}",
            "$.flowControl.usageLimitPolicyPluginRef", "is no limit policy", id="policy of another kind",
        ),
        pytest.param(
            PRICING + "flowControl: {usageLimitPolicyPluginRef: static-usage-limit-polici}",
            "$.flowControl.usageLimitPolicyPluginRef", "(did you mean static-usage-limit-policy?)", id="missing limit without gate",
        ),
        pytest.param(
            PRICING + "flowControl: {defaultPriorityBand: {fairnessPolicyRef: fair}}",
            "$.flowControl.defaultPriorityBand.fairnessPolicyRef", "there is no plugin `fair`", id="missing policy without gate",
        ),
        pytest.param(
            PRICING + "flowControl: {priorityBands: [{priority: 1, orderingPolicyRef: static-usage-limit-policy}]}",
            "$.flowControl.priorityBands[0].orderingPolicyRef", "is no ordering policy", id="policy of another kind without gate",
        ),
        pytest.param(
            "plugins: [{type: metrics-data-source, parameters: {pth: /m}}]",
            "$.plugins[0].parameters", "there is no field `pth` (did you mean path?)", id="parameter of an accepted plugin",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}, {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: queue-scorer}}]",
            "$.plugins[1].parameters", "needs PrefixCacheMatchInfo of `queue-scorer`, which does not provide it", id="no producer",
        ),
        pytest.param(
            "plugins: [{type: disagg-profile-handler}]",
            "$.plugins[0].type",
            "`disagg-profile-handler` is known to upstream, not yet in igw (it comes with disaggregated serving)", id="later",
        ),
        pytest.param(
            "plugins: [{type: token-producer, parameters: {udsTokenizerConfig: {}}}]",
            "$.plugins[0].type", "`token-producer` with udsTokenizerConfig is known to upstream, not yet in igw", id="later parameter",
        ),
        pytest.param(
            "plugins: [{type: session-id-producer}]",
            "$.plugins[0].parameters $", "write exactly one of headerName and cookieName", id="neither header nor cookie",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place_and_its_cure(
    tmp_path: Path, text: str, place: str, said: str
) -> None:
    """File, path in it, problem, and the nearest known name."""
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, text)
    assert caught.value.where == f"{tmp_path / 'picker.yaml'} (EndpointPickerConfig) {place}"
    assert said in str(caught.value)


def test_a_plugin_may_have_several_roles(tmp_path: Path) -> None:
    """An instance is registered in each of them."""
    got = made(
        tmp_path,
        """
        plugins: [{type: context-length-aware, name: long}]
        schedulingProfiles: [{name: a, plugins: [{pluginRef: long, weight: 3}]}]
        """,
    ).profiles["a"]
    assert got.filters[0].filter is got.scorers[0].scorer
    assert (got.filters[0].name, got.scorers[0].weight) == ("long", 3.0)


def test_admitters_and_handlers_need_no_profile(tmp_path: Path) -> None:
    """They count for every request, wherever they are named."""
    got = made(
        tmp_path,
        """
        plugins: [{type: probabilistic-admitter}, {type: header-profile-handler}]
        schedulingProfiles: [{name: a}, {name: b}]
        """,
    )
    assert [admitter.type for admitter in got.admitters] == ["probabilistic-admitter"]
    assert got.handler.type == "header-profile-handler"
    assert list(got.profiles) == ["a", "b"]


def test_a_picker_that_is_configured_is_given_to_every_profile_without_one(tmp_path: Path) -> None:
    """It is one instance in all of them."""
    got = made(
        tmp_path,
        """
        plugins: [{type: header-profile-handler}, {type: round-robin-picker}]
        schedulingProfiles: [{name: a}, {name: b}]
        """,
    ).profiles
    assert got["a"].picker is got["b"].picker


STATEFUL = """
plugins:
- {type: round-robin-picker, name: turns, parameters: {maxNumOfEndpoints: %d}}
- {type: queue-scorer}
schedulingProfiles: [{name: %s, plugins: [{pluginRef: turns}]}]
"""


def test_a_plugin_that_stays_the_same_keeps_what_it_has_learned(tmp_path: Path) -> None:
    """Same type, name and parameters; whatever else is edited."""
    path = tmp_path / "picker.yaml"
    path.write_text(HEAD + STATEFUL % (1, "a"))
    (document,) = documents.read([path])
    first = scheduler(document)
    path.write_text(HEAD + STATEFUL % (1, "b"))
    (document,) = documents.read([path])
    second = scheduler(document, first.plugins)
    assert second.profiles["b"].picker is first.profiles["a"].picker


@pytest.mark.parametrize("edit", [STATEFUL % (2, "a"), (STATEFUL % (1, "a")).replace("turns", "others")])
def test_a_plugin_that_is_another_one_starts_anew(tmp_path: Path, edit: str) -> None:
    """Other parameters, or another name."""
    path = tmp_path / "picker.yaml"
    path.write_text(HEAD + STATEFUL % (1, "a"))
    (document,) = documents.read([path])
    first = scheduler(document)
    path.write_text(HEAD + edit)
    (document,) = documents.read([path])
    second = scheduler(document, first.plugins)
    assert second.profiles["a"].picker is not first.profiles["a"].picker
