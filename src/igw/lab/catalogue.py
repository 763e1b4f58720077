"""Which policies there are by name, and a name or a file -> what builds one. Policies themselves are in `policies`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from igw.config.decode import nearest
from igw.config.documents import SUFFIXES, Document
from igw.config.manifests import load
from igw.errors import ConfigError
from igw.flow.settings import Settings, wanted
from igw.lab.policies.api import Factory, Holding, Policy
from igw.lab.policies.table import POLICIES
from igw.scheduling import builtin, configured
from igw.scheduling.resolved import resolve

DEFAULT = "default"
"""What the product does without a configuration."""

PATIENT = "default-patient"
"""The same for clients that wait as long as it takes: nobody is turned away."""
NO_HOLD = "default-no-hold"
"""The same without flow control: every request is sent at once."""

_OURS: dict[str, Factory] = {
    DEFAULT: lambda _setting: Holding(builtin.default(), Settings()),
    PATIENT: lambda _setting: Holding(builtin.default(), Settings(request_ttl_seconds=0.0)),
    NO_HOLD: lambda _setting: builtin.default(),
}

_FOLDER = Path("examples/policies")


def find(name: str) -> Factory:
    """Return what builds the policy *name*: one of `names()`, a path to an `EndpointPickerConfig`, or to a Python file.

    A Python file has a class or function `policy` that takes a `Setting` and returns a `Policy`.

    Raises:
        ConfigError: there is no such policy or file, or the file cannot be used.
    """
    if name in _OURS:
        return _OURS[name]
    if name in POLICIES:
        return POLICIES[name]
    if Path(name).suffix in SUFFIXES:
        return _from_file(Path(name))
    if Path(name).suffix == ".py":
        return _from_code(Path(name))
    if (file := _shipped().get(name)) is not None:
        return _from_file(file)
    raise ConfigError("--policy", f"there is no policy `{name}`", nearest(name, names()))


def names() -> list[str]:
    """Return the names of all policies that need no path, `default` first."""
    return [*_OURS, *sorted({*POLICIES, *_shipped()})]


def _from_file(path: Path) -> Factory:
    document = load([path]).picker_config
    if document is None:
        raise ConfigError(str(path), "there is no EndpointPickerConfig in this file")
    _built(document)  # a mistake is told now, not in the middle of a run
    return lambda _setting: _built(document)


def _built(document: Document) -> Policy | Holding:
    """Return what the picker makes of a file; whether requests wait is the file's to say."""
    resolved = resolve(document)
    scheduler = configured.built(resolved)
    plugins = scheduler.plugins.by_name
    flow, _ = wanted(resolved.config, plugins, document.source, waits=resolved.waits)
    return scheduler if flow is None else Holding(scheduler, flow, plugins[resolved.detector])


def _from_code(path: Path) -> Factory:
    if not path.is_file():
        raise ConfigError(str(path), "there is no such file")
    name = f"igw_policy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(str(path), "is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # decorators of the standard library look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(str(path), f"cannot be run: {type(error).__name__}: {error}") from error
    factory: Factory | None = getattr(module, "policy", None)
    if not callable(factory):
        raise ConfigError(
            str(path), "has no class or function `policy`", "it takes a Setting and returns a Policy"
        )
    return factory


def _shipped() -> dict[str, Path]:
    """Return the configurations that come with the source, by name; none where only the package is installed."""
    for folder in (Path(__file__).parents[3] / _FOLDER, _FOLDER):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}
    return {}
