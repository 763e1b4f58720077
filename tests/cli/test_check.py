"""`igw check`: what it prints, what it warns of, and how it exits."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from igw.cli.check import check

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "config" / "samples" / "old"
SOUND = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]
schedulingProfiles:
- {name: a, plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: prefix-cache-scorer, weight: 3}]}
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of `igw check`."""
    app = Typer()
    app.command()(check)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = "" if isinstance(result.exception, SystemExit | None) else repr(result.exception)
    assert not said
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A file of which there is nothing to say."""
    path = tmp_path / "sound.yaml"
    path.write_text(SOUND)
    return path


def test_the_resolved_configuration_is_printed(sound: Path) -> None:
    """Plugins that were added, producers among them, weights and the handler."""
    status, printed, warnings = run("-f", sound)
    assert (status, warnings) == (0, "")
    body = yaml.safe_load(printed)
    names = [plugin["name"] for plugin in body["plugins"]]
    assert names[:2] == ["queue-scorer", "prefix-cache-scorer"]
    assert {
        "max-score-picker",
        "single-profile-handler",
        "approx-prefix-cache-producer",
        "token-producer",
    } < set(names)
    assert body["schedulingProfiles"][0]["plugins"] == [
        {"pluginRef": "queue-scorer", "weight": 2.0},
        {"pluginRef": "prefix-cache-scorer", "weight": 3.0},
        {"pluginRef": "max-score-picker"},
    ]


def test_what_is_printed_can_be_checked_again(sound: Path, tmp_path: Path) -> None:
    """And says the same."""
    first = run("-f", sound)
    again = tmp_path / "again.yaml"
    assert run("-f", sound, "-o", again) == (0, "", "")
    assert again.read_text() == first[1]
    assert run("-f", again)[1] == first[1]


def test_warnings_are_told_and_are_errors_if_that_is_wanted(sound: Path) -> None:
    """On standard error, with code and place."""
    sound.write_text(SOUND.replace("weight: 3", "weight: 30"))
    status, _, warnings = run("-f", sound)
    assert status == 0
    assert warnings.startswith(
        f"IGW010 {sound} (EndpointPickerConfig) scheduling profile `a`: affinity weighs 30"
    )
    assert run("-f", sound, "--strict")[0] == 1


def test_a_file_that_cannot_be_used_is_an_error(sound: Path) -> None:
    """One sentence: place, problem, nearest known name."""
    sound.write_text(SOUND.replace("queue-scorer}", "que-scorer}", 1))
    status, printed, errors = run("-f", sound)
    assert (status, printed) == (1, "")
    assert errors == (
        f"igw check: {sound} (EndpointPickerConfig) $.plugins[0].type: there is no plugin type `que-scorer` "
        "(did you mean queue-scorer?)\n"
    )


def test_parameters_are_checked_even_if_something_is_not_there_yet(sound: Path) -> None:
    """A file is not right because another part of it cannot run."""
    plugins = "{type: latency-scorer}, {type: max-score-picker, parameters: {max: 2}}"
    sound.write_text(SOUND.replace("{type: queue-scorer}", "{type: queue-scorer}, " + plugins))
    status, _, errors = run("-f", sound)
    assert status == 1
    assert "there is no field `max`" in errors


@pytest.mark.parametrize("path", sorted(OLD.glob("*.yaml")), ids=lambda path: path.stem)
def test_old_files_are_converted(path: Path, tmp_path: Path) -> None:
    """Nothing is left to convert, and nothing deprecated is left."""
    new = tmp_path / "new.yaml"
    status, printed, _ = run("--convert", "-f", path)
    assert status == 0
    assert run("--convert", "-f", path, "-o", new)[0] == 0
    assert new.read_text() == printed
    status, _, warnings = run("-f", new)
    assert status == 0
    assert "IGW002" not in warnings
    assert "IGW003" not in warnings
    assert "IGW002" in run("-f", path)[2] or "IGW003" in run("-f", path)[2]


def test_manifests_without_a_configuration_are_checked_too() -> None:
    """The built-in default decides."""
    status, printed, _ = run("-f", ROOT / "examples" / "quickstart")
    assert status == 0
    assert "built-in default decides" in printed


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "picker-configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_examples_can_be_used(path: Path) -> None:
    """Without a warning but that something is experimental."""
    status, _, warnings = run("-f", path)
    assert status == 0
    assert all(line.startswith("IGW004") for line in warnings.splitlines())


def test_an_output_that_cannot_be_written_is_an_error(sound: Path, tmp_path: Path) -> None:
    """With the reason."""
    status, _, errors = run("-f", sound, "-o", tmp_path / "nowhere" / "x.yaml")
    assert status == 1
    assert "cannot be written: No such file or directory" in errors


def test_rewrites_are_warned_of_with_and_without_a_configuration(sound: Path, tmp_path: Path) -> None:
    """They decide whatever picks."""
    models = tmp_path / "models.yaml"
    models.write_text(
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: p}\n"
        "spec: {selector: {matchLabels: {a: b}}, targetPorts: [{number: 8000}]}\n---\n"
        "apiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {name: r}\n"
        "spec: {poolRef: {name: p}, rules: [{targets: [{modelRewrite: t}]}]}\n"
    )
    for files in (("-f", models), ("-f", models, "-f", sound)):
        status, _, warnings = run(*files)
        assert status == 0
        assert f"IGW021 {models} document 2 (InferenceModelRewrite default/r) $.spec.rules[0]" in warnings
        assert run(*files, "--strict")[0] == 1


def test_engines_by_configuration_are_checked(sound: Path) -> None:
    """Before the picker is started with them; the place is that of the field."""
    extractor = "{type: core-metrics-extractor, parameters: {engineConfigs: [{name: e, kvUsageSpec: 'kv{'}]}}"
    wired = "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}\n"
    text = SOUND.replace("}]\nsched", f"}}, {{type: metrics-data-source}}, {extractor}]\nsched") + wired
    sound.write_text(text)
    code, _, said = run("-f", sound)
    assert code == 1
    assert "engineConfigs[0].kvUsageSpec: `kv{` is no metric (write name or name{label=value})" in said
    sound.write_text(text.replace("kv{", "kv"))
    assert run("-f", sound)[0] == 0


def test_a_local_tokenizer_is_loaded(sound: Path) -> None:
    """A folder that has none is an error of the file."""
    sound.write_text(
        SOUND.replace(
            "plugins: [",
            "plugins: [{type: token-producer, parameters: {local: {modelTokenizerMap: {m: nowhere}}}}, ",
            1,
        )
    )
    status, _, said = run("-f", sound)
    assert status == 1
    assert said == (
        "igw check: token-producer: local.modelTokenizerMap: there is no nowhere (name a model's folder, or its tokenizer.json)\n"
    )
