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
    assert made(tmp_path, "") == Scheduler.of((), MaxScorePicker())


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
            "$.schedulingProfiles[0].plugins[0]", "the required field `pluginRef` is missing", id="no reference",
        ),
        pytest.param(
            "plugins: [{type: queue-scorer}]\n"
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: heavy}]}]",
            "$.schedulingProfiles[0].plugins[0].weight", "expected `float`, got `str`, found 'heavy'", id="bad weight",
        ),
        pytest.param(
            "schedulingProfiles: [{plugins: []}]",
            "$.schedulingProfiles[0]", "the required field `name` is missing", id="profile without a name",
        ),
        pytest.param(
            "schedulingProfiles: [{name: prefill}, {name: decode}]",
            "$.schedulingProfiles", "several profiles are not supported yet", id="two profiles",
        ),
        pytest.param(
            "plugins: [{type: max-score-picker}, {type: random-picker}]",
            "$.schedulingProfiles[0].plugins[1]", "a profile has one picker, this is the second", id="two pickers",
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
