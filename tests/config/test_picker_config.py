"""The fields of an `EndpointPickerConfig`: what is read, what is refused, and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from igw.config import picker_config
from igw.config.documents import Document, written
from igw.config.picker_config import PickerConfig
from igw.errors import ConfigError


def read(text: str) -> PickerConfig:
    """Return what is read from *text* below the head."""
    head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
    (document,) = written(head + text, "text")
    return picker_config.read(document)


def test_every_field_of_upstream_is_read() -> None:
    """With its defaults where it is not written."""
    config = read("""
featureGates: [flowControl]
plugins: [{name: q, type: queue-scorer, parameters: {}}]
schedulingProfiles: [{name: p, plugins: [{pluginRef: q, weight: 2}]}]
dataLayer:
  injectDefaults: false
  sources: [{pluginRef: s, extractors: [{pluginRef: e}]}]
  discovery: {pluginRef: d}
  peerDiscovery: {pluginRef: d}
  crossReplicaSyncerPluginRef: c
  crossReplicaSyncInterval: 100ms
flowControl:
  maxBytes: 1Gi
  maxRequests: 10
  defaultRequestTTL: 1m30s
  noEndpointRequestTTL: 0s
  defaultPriorityBand: {maxBytes: 1G, maxRequests: 5k, fairnessPolicyRef: f, orderingPolicyRef: o}
  defaultNegativePriorityBand: {}
  priorityBands: [{priority: -1}]
  usageLimitPolicyPluginRef: u
  saturationDetector: {pluginRef: d}
  enableEviction: true
requestHandler: {parsers: [{pluginRef: openai-parser}]}
saturationDetector: {pluginRef: d}
parser: {pluginRef: openai-parser}
""")
    assert config.data_layer is not None
    assert config.data_layer.sources[0].extractors[0].plugin_ref == "e"
    assert config.flow_control is not None
    assert config.flow_control.default_request_ttl == "1m30s"
    assert config.flow_control.priority_bands[0].priority == -1
    assert config.plugins[0].called == "q"


@pytest.mark.parametrize(
    ("gates", "on"),
    [
        ("[]", False), ("[flowControl]", True), ("[flowControl=true]", True), ("[flowControl=False]", False),
        ("['flowControl=1']", True), ("['flowControl=f']", False), ("['flowControl=true=no']", True),
        ("[flowControl, flowControl=false]", False),
    ],
)  # fmt: skip
def test_a_gate_is_on_by_its_name_or_by_its_value(gates: str, on: bool) -> None:
    """What stands after a second `=` does not count; the last one wins."""
    config = read(f"featureGates: {gates}")
    assert config.enabled("flowControl") is on
    assert config.enabled("haPopulateNonLeaderDatastore") is True


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("featureGates: [flowcontrol]", "$.featureGates[0]", "did you mean flowControl?"),
        ("featureGates: [flowControl=on]", "$.featureGates[0]", "`on` is not a value of a feature gate"),
        ("plugins: [{name: a}]", "$.plugins[0]", "the required field `type` is missing"),
        ("plugins: [{type: ''}]", "$.plugins[0].type", "length"),
        ("plugin: []", "$", "did you mean plugins?"),
        ("schedulingProfiles: [{plugins: []}]", "$.schedulingProfiles[0].name", "a scheduling profile needs a name"),
        ("schedulingProfiles: [{name: a}, {name: a}]", "$.schedulingProfiles[1].name", "two scheduling profiles"),
        (
            "schedulingProfiles: [{name: a, plugins: [{weight: 2}]}]",
            "$.schedulingProfiles[0].plugins[0].pluginRef", "the name of a plugin is expected, found none",
        ),
        (
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: q, weight: heavy}]}]",
            "$.schedulingProfiles[0].plugins[0].weight", "found 'heavy'",
        ),
        ("flowControl: {maxBytes: -1}", "$.flowControl.maxBytes", "`-1` is negative"),
        ("flowControl: {maxBytes: 1GB}", "$.flowControl.maxBytes", "a quantity such as 5000, 512Mi or 1G is expected"),
        ("flowControl: {priorityBands: [{maxRequests: -2k}]}", "$.flowControl.priorityBands[0].maxRequests", "negative"),
        ("flowControl: {defaultRequestTTL: soon}", "$.flowControl.defaultRequestTTL", "a duration such as 60s"),
        ("flowControl: {maxByte: 1}", "$.flowControl", "did you mean maxBytes?"),
        ("dataLayer: {sources: [{pluginRef: a, extractor: []}]}", "$.dataLayer.sources[0]", "did you mean extractors?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_place_value_and_cure(text: str, place: str, said: str) -> None:
    """One sentence each, as in upstream's table of validations."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.where == f"text (EndpointPickerConfig) {place}"
    assert said in str(caught.value)


@pytest.mark.parametrize("quantity", [0, 5000, "1G", "512Mi", "1.5Gi", "100m", "1e3", "12E"])
def test_quantities_are_those_of_kubernetes(quantity: Any) -> None:
    """As numbers or as text."""
    body = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "flowControl": {"maxBytes": quantity},
    }
    config = picker_config.read(Document("x", "", "EndpointPickerConfig", "", "", body))
    assert config.flow_control is not None
    assert config.flow_control.max_bytes == quantity
