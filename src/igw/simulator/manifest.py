"""The `Simulator` object: what a user writes in YAML about simulated model servers, and how it is read.

Starting them is in `fleet`. Objects of other kinds in the same files are somebody else's and are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from igw.errors import ConfigError
from igw.simulator.engine.engine import EngineConfig
from igw.simulator.hardware.calibration import StepTime, kv_capacity_tokens
from igw.simulator.server import ServerConfig

API_VERSION = "igw.dev/v1alpha1"
KIND = "Simulator"
SUFFIXES = {".yaml", ".yml", ".json"}

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The accelerators a server pretends to have: a calibrated model on `tensorParallel` H100."""

    calibration: str = "llama-3.1-8b"
    tensor_parallel: _Positive = 1


class SimulatorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Some equal model servers; field names are camelCase in YAML.

    Servers listen on `firstPort` and those after it, 0 meaning any free ports. `labels` are put on every endpoint.
    `numGpuBlocks` defaults to what fits beside the weights. `speed` 2.0 halves every duration.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    replicas: _Positive = 1
    hardware: Hardware = Hardware()
    address: str = "127.0.0.1"
    first_port: _Port = 0
    labels: dict[str, str] = {}
    speed: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    max_num_seqs: _Positive = 256
    max_num_batched_tokens: _Positive = 8192
    block_size: _Positive = 16
    num_gpu_blocks: _Positive | None = None
    max_model_len: _Positive = 131_072

    def server(self) -> ServerConfig:
        """Return what each replica runs; ValueError for hardware without calibration or sizes that do not fit."""
        model, tp = self.hardware.calibration, self.hardware.tensor_parallel
        step_time = StepTime.load(model, tp)
        engine = EngineConfig(
            step_time=step_time,
            num_gpu_blocks=self.num_gpu_blocks or kv_capacity_tokens(model, tp) // self.block_size,
            block_size=self.block_size,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=self.max_model_len,
        )
        return ServerConfig(model=self.model, engine=engine, speed=self.speed)


class Metadata(msgspec.Struct, frozen=True):
    """The part of Kubernetes' ObjectMeta that is used here; the rest is ignored."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    namespace: str = "default"
    labels: dict[str, str] = {}


class Simulator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """One object of kind `Simulator`."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: SimulatorSpec

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{KIND} {self.metadata.namespace}/{self.metadata.name}"


def read(paths: Iterable[Path]) -> list[Simulator]:
    """Return the simulators of files and directories, in order; ConfigError for what cannot be used."""
    found: dict[str, Simulator] = {}
    for path in paths:
        for file in _files(path):
            for place, document in _documents(file):
                simulator = _convert(document, place)
                if simulator.title in found:
                    raise ConfigError(place, f"{simulator.title} is defined twice", "rename one of them")
                found[simulator.title] = simulator
    return list(found.values())


def checked_server(simulator: Simulator, place: str = "") -> ServerConfig:
    """Return `spec.server()`, a bad value being a ConfigError at *place* or at the object."""
    try:
        return simulator.spec.server()
    except ValueError as error:
        raise ConfigError(f"{place or simulator.title}: spec", str(error)) from error


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not path.exists():
        raise ConfigError(str(path), "no such file or directory")
    return [path]


def _documents(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each Simulator document of *file* with the words that say where it is."""
    try:
        documents = list(yaml.load_all(file.read_text(encoding="utf-8"), yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), f"not YAML: {error}") from error
    for number, document in enumerate(documents, 1):
        if isinstance(document, dict) and document.get("kind") == KIND:
            yield (f"{file}, document {number}" if len(documents) > 1 else str(file)), document


def _convert(document: dict[str, Any], place: str) -> Simulator:
    if document.get("apiVersion") != API_VERSION:
        problem = f"apiVersion {document.get('apiVersion')!r} of kind {KIND} is not known"
        raise ConfigError(place, problem, f"write {API_VERSION}")
    try:
        simulator = msgspec.convert(document, Simulator)
    except msgspec.ValidationError as error:
        raise ConfigError(place, str(error)) from error
    checked_server(simulator, place)
    return simulator
