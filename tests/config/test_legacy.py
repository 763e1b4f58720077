"""Files of older versions: recognised, converted, and equal in decision to what one would write today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from igw.config import documents, legacy
from igw.config.documents import Document
from igw.scheduling import configured, printed
from igw.scheduling.resolved import resolve

OLD = Path(__file__).parent / "samples" / "old"
FILES = sorted(OLD.glob("*.yaml"))


def document(body: dict[str, Any]) -> Document:
    """Return an EndpointPickerConfig with *body*."""
    head = {"apiVersion": legacy.VERSION, "kind": "EndpointPickerConfig"}
    return Document("file.yaml", legacy.VERSION, "EndpointPickerConfig", "", "default", head | body)


def converted(**body: Any) -> dict[str, Any]:
    """Return *body* in today's form, without its head."""
    newest = dict(legacy.newest(document(body)).body)
    del newest["apiVersion"], newest["kind"]
    return newest


def test_todays_form_is_left_alone() -> None:
    """The very same document, and nothing to tell."""
    given = document({"plugins": [{"type": "prefix-cache-scorer"}], "featureGates": ["flowControl"]})
    assert legacy.today(given) == (given, ())
    assert legacy.today(given)[0] is given


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_and_its_conversion_decide_alike(path: Path) -> None:
    """Filters, scorers, weights, pickers, admitters and the index are the same; the conversion has nothing left to convert."""
    (old,) = documents.read([path])
    newest = legacy.newest(old)
    assert legacy.today(newest)[1] == ()
    assert newest.body["apiVersion"] == "llm-d.ai/v1alpha1"
    one, other = configured.scheduler(old), configured.scheduler(newest)
    assert (one.profiles, one.handler, one.admitters) == (other.profiles, other.handler, other.admitters)
    assert one.plugins.capacity_tokens == other.plugins.capacity_tokens
    assert one.plugins.follows_engines == other.plugins.follows_engines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_conversion_can_be_written_and_read(path: Path, tmp_path: Path) -> None:
    """As YAML; resolved, it is the same configuration."""
    (old,) = documents.read([path])
    there = tmp_path / "new.yaml"
    there.write_text(yaml.safe_dump(legacy.newest(old).body, sort_keys=False))
    (new,) = documents.read([there])
    assert printed.document(resolve(new)) == printed.document(resolve(legacy.newest(old)))


def test_an_old_file_is_not_changed_in_place() -> None:
    """What was read is still there for whoever reads it next."""
    given = document({"data": {"sources": []}, "featureGates": ["dataLayer"]})
    before = msgspec.json.encode(given)
    legacy.newest(given)
    assert msgspec.json.encode(given) == before


def test_gates_that_are_gone_are_dropped_and_others_stay() -> None:
    """Whatever value they have."""
    gates = ["dataLayer", "prepareDataPlugins=true", "flowControl", "enableLegacyMetrics=false"]
    assert converted(featureGates=gates) == {"featureGates": ["flowControl"]}


def test_data_is_called_data_layer() -> None:
    """Where both are written the strict reading says that there is no `data`."""
    assert converted(data={"sources": []}) == {"dataLayer": {"sources": []}}
    assert "data" in converted(data={}, dataLayer={})


def test_thresholds_become_a_detector_that_flow_control_uses() -> None:
    """It is a filter too, so a profile of everything there is is written out before it is added."""
    new = converted(plugins=[{"type": "queue-scorer"}], saturationDetector={"queueDepthThreshold": 3})
    assert new["plugins"][1] == {"type": "utilization-detector", "parameters": {"queueDepthThreshold": 3}}
    assert new["schedulingProfiles"] == [{"name": "default", "plugins": [{"pluginRef": "queue-scorer"}]}]
    assert new["flowControl"] == {"saturationDetector": {"pluginRef": "utilization-detector"}}
    assert "saturationDetector" not in new


def test_a_detector_does_not_take_a_name_that_is_taken() -> None:
    """There may be a plugin of that type for another purpose."""
    new = converted(
        plugins=[{"type": "utilization-detector"}], saturationDetector={"kvCacheUtilThreshold": 0.5}
    )
    assert new["plugins"][1]["name"] == "utilization-detector-2"
    assert new["flowControl"]["saturationDetector"]["pluginRef"] == "utilization-detector-2"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"hashBlockSize": 64}, {"autoTune": False, "blockSizeTokens": 16, "maxPrefixTokensToMatch": 4096}),
        (
            {"hashBlockSize": 1024, "lruCapacityPerServer": 100, "maxPrefixBlocksToMatch": 10},
            {
                "autoTune": False,
                "blockSizeTokens": 256,
                "lruCapacityPerServer": 100,
                "maxPrefixTokensToMatch": 2560,
            },
        ),
        (
            {"blockSize": 64, "lruCapacityPerServer": 400},
            {"blockSizeTokens": 16, "lruCapacityPerServer": 100},
        ),
        ({"blockSizeTokens": 32, "blockSize": 64}, {"blockSizeTokens": 32}),
        (
            {"autoTune": True, "maxPrefixBlocksToMatch": 100},
            {"autoTune": True, "maxPrefixTokensToMatch": 1600},
        ),
        ({"maxPrefixTokensToMatch": 7}, {"maxPrefixTokensToMatch": 7}),
    ],
)
def test_the_index_moves_to_a_producer_with_sizes_in_tokens(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Four characters are a token, and an index of small blocks keeps its size in tokens: today's are never below 64."""
    plugins = converted(plugins=[{"type": "prefix-cache-scorer", "parameters": old}])["plugins"]
    assert plugins == [
        {"type": "prefix-cache-scorer"},
        {"type": "approx-prefix-cache-producer", "parameters": new},
    ]


def test_two_scorers_with_an_index_each_get_a_producer_each() -> None:
    """The second one names its own."""
    scorers = [
        {"type": "prefix-cache-scorer", "parameters": {"blockSizeTokens": 64}},
        {"type": "prefix-cache-scorer", "name": "b", "parameters": {"blockSizeTokens": 128}},
    ]
    plugins = converted(plugins=scorers)["plugins"]
    assert plugins[1]["parameters"] == {"prefixMatchInfoProducerName": "approx-prefix-cache-producer-2"}
    assert [plugin.get("name") for plugin in plugins] == [None, "b", None, "approx-prefix-cache-producer-2"]


def test_a_mistake_in_todays_form_stays_a_mistake() -> None:
    """No version had the index's parameters and a producer's name at one scorer."""
    parameters = {"prefixMatchInfoProducerName": "x", "blockSize": 64}
    given = document({"plugins": [{"type": "prefix-cache-scorer", "parameters": parameters}]})
    assert legacy.today(given) == (given, ())


def test_what_is_deprecated_and_accepted_is_written_in_its_new_place() -> None:
    """By `newest` only: it needs no conversion to be read."""
    body = {
        "saturationDetector": {"pluginRef": "d"},
        "parser": {"pluginRef": "openai-parser"},
        "plugins": [{"type": "tokenizer"}],
    }
    assert legacy.today(document(body))[1] == ()
    assert converted(**body) == {
        "flowControl": {"saturationDetector": {"pluginRef": "d"}},
        "requestHandler": {"parsers": [{"pluginRef": "openai-parser"}]},
        "plugins": [{"type": "token-producer", "name": "tokenizer"}],
    }


@pytest.mark.parametrize("plugins", [None, "x", [1], [{"type": 3}], [{"parameters": []}]])
def test_what_is_no_list_of_plugins_is_left_to_the_strict_reading(plugins: Any) -> None:
    """Conversion never fails by itself."""
    body = {"plugins": plugins, "featureGates": "x", "saturationDetector": 3}
    assert legacy.today(document(body))[0].body["plugins"] == plugins


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 300)
    | st.sampled_from(["prefix-cache-scorer", "tokenizer", "dataLayer", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "name",
                    "parameters",
                    "hashBlockSize",
                    "blockSize",
                    "lruCapacityPerServer",
                    "pluginRef",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "featureGates",
        "plugins",
        "schedulingProfiles",
        "data",
        "flowControl",
        "saturationDetector",
        "parser",
        "requestHandler",
    ]
)


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.booleans())
def test_conversion_never_fails_and_leaves_nothing_to_convert(body: dict[str, Any], thresholds: bool) -> None:
    """Whatever is written; what is wrong with it, the strict reading says."""
    if thresholds:
        body["saturationDetector"] = {"queueDepthThreshold": 3}
    first, _ = legacy.today(document(body))
    assert legacy.today(first) == (first, ())
    legacy.newest(document(body))
