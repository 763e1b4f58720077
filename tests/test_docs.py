"""The documentation says what the code does: examples load, links lead somewhere, lists are complete."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from typer import Typer
from typer.main import get_command

import igw
from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.cli.epp import epp
from igw.cli.gateway import gateway
from igw.config.manifests import API_VERSIONS, IGNORED, load
from igw.discovery.observed import collect as collect_cluster
from igw.discovery.observed import reports
from igw.errors import ConfigError
from igw.kubernetes.status import Counts
from igw.parsing.registry import PARSERS
from igw.scheduling import builtin, configured, registry
from igw.simulator.manifest import Hardware, SimulatorSpec
from igw.simulator.manifest import read as read_simulators
from igw.tracing.settings import Settings as Traces

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/README.md")])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def page(name: str) -> str:
    """Return a page of `docs/`."""
    return (DOCS / name).read_text()


def sections(text: str) -> dict[str, str]:
    """Return what is below each `##` or `###` heading."""
    parts = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(text: str) -> set[str]:
    """Return everything in backquotes in the first column of the tables of *text*."""
    return {
        code
        for line in text.splitlines()
        if line.startswith("|")
        for code in re.findall(r"`([^`]+)`", line.split("|")[1])
    }


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of *text* in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


FILES = sections(page("files.md"))
EXAMPLES = {title: found for title, text in FILES.items() if (found := blocks(text, "yaml"))}


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_examples_of_a_section_load_together(title: str, tmp_path: Path) -> None:
    """And each of their objects means something to the part that uses it."""
    for number, text in enumerate(EXAMPLES[title]):
        (tmp_path / f"{number}.yaml").write_text(text)
    manifests = load([tmp_path])
    assert len(manifests.simulators) == len(read_simulators([tmp_path]))
    if manifests.picker_config is not None:
        configured.scheduler(manifests.picker_config)
    assert any((manifests.gateways, manifests.endpoints, manifests.simulators, manifests.picker_config))


def test_there_are_examples_of_every_kind() -> None:
    """A changed layout of the page must not turn these tests off."""
    written = "\n".join(text for found in EXAMPLES.values() for text in found)
    assert set(re.findall(r"^kind: (\w+)$", written, re.MULTILINE)) | {"Endpoints"} == set(API_VERSIONS)
    assert "\nendpoints:\n" in f"\n{written}"


def test_the_example_of_a_picker_configuration_is_the_default(tmp_path: Path) -> None:
    """The page says that it decides as the picker does without any."""
    path = tmp_path / "config.yaml"
    path.write_text(EXAMPLES["How the picker decides"][0])
    document = load([path]).picker_config
    assert document is not None
    assert builtin.default().profiles == configured.scheduler(document).profiles


def test_every_kind_that_is_read_is_listed_with_its_versions() -> None:
    """Kinds that are passed over for another reason than the cluster are named too."""
    text = FILES["How files are read"]
    assert set(API_VERSIONS) == first_cells(text)
    for versions in API_VERSIONS.values():
        assert all(f"`{version}`" in text for version in versions)
    assert all(f"`{kind}`" in text for kind, why in IGNORED.items() if "cluster" not in why)


PLUGINS = sections(page("plugins.md"))


def test_every_plugin_is_in_the_table() -> None:
    """By type; another name for one stands in its section."""
    assert set(registry.classes()) == first_cells(PLUGINS["What there is"])
    for kind, known in registry.UPSTREAM.items():
        assert not known.alias or f"`{kind}`" in PLUGINS[f"`{known.alias}`"], kind


@pytest.mark.parametrize("kind", sorted(registry.classes()))
def test_a_plugins_section_names_its_parameters(kind: str) -> None:
    """All of them, also those that have no effect."""
    text = PLUGINS[f"`{kind}`"]
    missing = [
        field.encode_name
        for field in msgspec.structs.fields(registry.classes()[kind])
        if not re.search(rf"`{field.encode_name}[`.]", text)
    ]
    assert not missing


def test_types_of_upstream_that_do_nothing_or_are_missing_are_listed() -> None:
    """So that nobody looks for them."""
    own = registry.classes()
    others = {
        kind: known for kind, known in registry.UPSTREAM.items() if kind not in own and known.alias not in own
    }
    inert = {kind for kind, known in others.items() if known.inert}
    assert inert == first_cells(PLUGINS["Accepted without effect"])
    assert {kind for kind, known in others.items() if known.later} == first_cells(PLUGINS["Not yet"])
    for room, section in (("parsing", "Parsers"), ("scraping", "Data sources")):
        found = {kind for kind, known in others.items() if known.elsewhere == room}
        assert found == first_cells(PLUGINS[section])


def test_every_api_is_listed_under_its_parser() -> None:
    """By its path; some share a line."""
    rows = [line.split("|")[1:3] for line in page("apis.md").splitlines() if line.startswith("| ")]
    listed, parser = {}, ""
    for first, paths in rows:
        parser = first.strip().strip("`") or parser
        listed[parser] = listed.get(parser, "") + paths
    for each in PARSERS.values():
        for api in each.apis:
            last = re.split("[/:]", api.suffix)[-1]
            assert re.search(rf"[`/:]{last}`", listed[each.type]) or "VllmEngine" in api.suffix, api.suffix


def test_every_field_of_a_simulator_is_listed() -> None:
    """Those of the hardware under their path."""
    fields = {field.encode_name for field in msgspec.structs.fields(SimulatorSpec)} - {"hardware"}
    fields |= {f"hardware.{field.encode_name}" for field in msgspec.structs.fields(Hardware)}
    listed = {
        line.split("`")[1] for line in FILES["Simulated model servers"].splitlines() if line[:3] == "| `"
    }
    assert fields == listed


def _misspelt(folder: Path) -> None:
    pool = folder / "pool.yaml"
    pool.write_text(pool.read_text().replace("targetPorts", "targetPort"))


def _without_pool(folder: Path) -> None:
    (folder / "pool.yaml").unlink()


@pytest.mark.parametrize("spoil", [_misspelt, _without_pool])
def test_errors_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    """What the page shows is what a spoilt quickstart says."""
    shutil.copytree(ROOT / "examples/quickstart", tmp_path / "examples/quickstart")
    monkeypatch.chdir(tmp_path)
    spoil(Path("examples/quickstart"))
    with pytest.raises(ConfigError) as error:
        load([Path("examples/quickstart")])
    printed = blocks(FILES["What errors look like"], "text")
    assert any(text.endswith(f": {error.value}\n") for text in printed)


@pytest.mark.parametrize("command", [epp, gateway])
def test_every_flag_of_a_component_is_listed(command: Callable[..., None]) -> None:
    """And none that is not there. Those of upstream that are not ours have a table of their own."""
    app = Typer(add_completion=False)
    app.command()(command)
    own = [option for option in get_command(app).params if not getattr(option, "hidden", False)]
    flags = {flag for option in own for flag in [*option.opts, *option.secondary_opts]}
    listed = first_cells(sections(page("operations.md"))[f"Flags of `igw {command.__name__}`"])
    assert flags - {"--help"} == listed


def test_every_metric_is_listed() -> None:
    """Those of a picker with everything turned on, and those of a cluster; the body-based router's have a page of their own."""
    families = Picker(
        PickerSettings(paths=(), stream_metrics=True, traces=Traces(exporter="console"))
    )._families
    families.collect_with(lambda: collect_cluster((), ()), lambda: reports(Counts(), 0, leads=True))
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families.registry.collect()
    }
    ours = {name for name in names if not name.startswith(("bbr_", "igw_bbr_"))}
    assert ours == first_cells(sections(page("operations.md"))["Metrics of the picker"])


def test_the_floors_are_those_of_the_contract() -> None:
    """In the same order."""
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert "\n".join(layers) + "\n" in blocks(sections(page("design.md"))["Floors"], "")


def test_every_room_is_in_the_house() -> None:
    """Folders and modules at the top of the package, and those that have nothing in them yet are told apart."""
    house = Path(igw.__file__).parent
    rooms = {path.name for path in house.iterdir() if path.suffix == ".py" and not path.name.startswith("__")}
    rooms |= {f"{path.name}/" for path in house.iterdir() if (path / "__init__.py").exists()}
    parts = sections(page("design.md"))
    (plan,) = blocks(parts["The house"], "")
    listed = {
        word for line in plan.splitlines() for word in line.split("   ")[0].split() if word[-1:] in "/y"
    }
    assert rooms == {word for word in listed if word.endswith(("/", ".py"))}
    assert not rooms & first_cells(parts["What is not here yet"])


def test_every_dependency_has_a_reason() -> None:
    """At run time, for every extra, to develop."""
    project = PYPROJECT["project"]
    wanted: Iterable[str] = (
        *project["dependencies"],
        *chain.from_iterable(project["optional-dependencies"].values()),
        *PYPROJECT["dependency-groups"]["dev"],
    )
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in wanted}
    assert names == first_cells(page("dependencies.md"))


def _anchors(text: str) -> set[str]:
    """Return the anchors that a page's headings get where Markdown is shown."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """To files and folders that exist, and to headings that a page has."""
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), link
        assert not anchor or anchor in _anchors(there.read_text()), link
