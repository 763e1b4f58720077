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
from igw.simulator.engine.config import EngineConfig, SchedulingPolicy
from igw.simulator.faults import Planned
from igw.simulator.hardware.calibration import MEASURED_ON, StepTime, kv_capacity_tokens
from igw.simulator.http.names import LoraModule
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.metrics.dialects import DIALECTS, DialectName
from igw.simulator.serving import ServerConfig
from igw.simulator.transfer.config import KvTransferConfig

API_VERSION = "igw.dev/v1alpha1"
KIND = "Simulator"
SUFFIXES = {".yaml", ".yml", ".json"}

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


def dial(text: str, panel: str, *flags: str) -> msgspec.Meta:
    """Describe a field: the words and the panel it has in `igw sim --help`, further names of its flag.

    The flag itself is made of the field's name, so a new field needs nothing else.
    """
    return msgspec.Meta(description=text, extra={"panel": panel, "flags": flags})


_SERVERS, _SPEED, _SCHEDULER, _KV_MEMORY = "Servers", "Speed", "Scheduler", "KV memory"
_DISTRIBUTED = "Data parallelism, KV events, disaggregation"
_ADAPTERS, _API, _METRICS, _FAULTS = "LoRA adapters", "HTTP", "Metrics", "Faults"

_GIB = 2**30


class Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The accelerators a server pretends to have: a calibrated model on `tensorParallel` of them."""

    calibration: Annotated[
        str,
        dial("Model whose measured step times and size are used; or the path of a file with yours.", _SPEED),
    ] = "llama-3.1-8b"
    tensor_parallel: Annotated[
        _Positive, dial("GPUs that one server is spread over.", _SPEED, "--tensor-parallel-size")
    ] = 1
    accelerator: Annotated[
        str, dial("Kind of GPU, as H100, H200, A100 or L4; or the path of a file that describes one.", _SPEED)
    ] = MEASURED_ON


class SimulatorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Some equal model servers; field names are camelCase in YAML, and each is a flag of `igw sim`."""

    model: Annotated[str, msgspec.Meta(min_length=1), dial("Name that clients ask for.", _SERVERS)]
    served_model_name: Annotated[
        list[str],
        dial(
            "Names that clients ask for instead of the model's; the first is the one that answers carry.",
            _SERVERS,
        ),
    ] = []
    replicas: Annotated[_Positive, dial("Number of servers.", _SERVERS)] = 1
    hardware: Hardware = Hardware()
    address: Annotated[str, dial("Address to listen on.", _SERVERS, "--host")] = "127.0.0.1"
    first_port: Annotated[
        _Port, dial("Port of the first server, the others follow; 0 takes free ones.", _SERVERS, "--port")
    ] = 0
    labels: Annotated[dict[str, str], dial("Labels of every endpoint, for a pool's selector.", _SERVERS)] = {}
    speed: Annotated[
        float, msgspec.Meta(gt=0), dial("Times faster than real: 2 halves every duration.", _SPEED)
    ] = 1.0
    max_num_seqs: Annotated[_Positive, dial("Sequences in a batch.", _SCHEDULER)] = 256
    max_num_batched_tokens: Annotated[_Positive, dial("Tokens in a step.", _SCHEDULER)] = 8192
    block_size: Annotated[_Positive, dial("Tokens in a KV block.", _KV_MEMORY)] = 16
    num_gpu_blocks: Annotated[
        _Positive | None,
        dial(
            "KV blocks of one server; what fits beside the weights unless set.",
            _KV_MEMORY,
            "--num-gpu-blocks-override",
        ),
    ] = None
    max_model_len: Annotated[
        _Positive, dial("Longest prompt and answer together, in tokens.", _SCHEDULER)
    ] = 131_072

    scheduling_policy: Annotated[
        SchedulingPolicy, dial("Who runs first: by arrival, or by the requests' `priority`.", _SCHEDULER)
    ] = "fcfs"
    enable_prefix_caching: Annotated[
        bool, dial("Find the KV blocks of equal prefixes again.", _KV_MEMORY)
    ] = True
    kv_offloading_size: Annotated[
        _Seconds, dial("GiB of CPU memory for KV blocks that were evicted; 0 for none.", _KV_MEMORY)
    ] = 0.0
    kv_offloading_bandwidth: Annotated[
        float,
        msgspec.Meta(gt=0),
        dial("Bytes per second from CPU memory to a GPU; 80 % of PCIe 5.0 x16 unless set.", _KV_MEMORY),
    ] = 50e9
    shared_cache_size: Annotated[
        _Seconds, dial("GiB of memory for KV blocks that all these servers share; 0 for none.", _KV_MEMORY)
    ] = 0.0
    shared_cache_bandwidth: Annotated[
        float,
        msgspec.Meta(gt=0),
        dial("Bytes per second from the shared memory to one server.", _KV_MEMORY),
    ] = 10e9
    shared_cache_latency: Annotated[
        _Seconds, dial("Seconds until the first byte from the shared memory is there.", _KV_MEMORY)
    ] = 0.005
    max_loras: Annotated[_Count, dial("Different adapters in a batch.", _ADAPTERS)] = 1
    lora_modules: Annotated[
        list[LoraModule], dial("Adapters that are served from the start; repeatable.", _ADAPTERS)
    ] = []
    lora_load_seconds: Annotated[
        _Seconds, dial("How much longer a step takes that brings an adapter to the GPU.", _ADAPTERS)
    ] = 0.0
    allow_runtime_lora_updating: Annotated[
        bool, dial("Serve /v1/load_lora_adapter and /v1/unload_lora_adapter.", _ADAPTERS)
    ] = True
    api_key: Annotated[list[str], dial("Key that /v1 asks for as a bearer token; repeatable.", _API)] = []
    enable_prompt_tokens_details: Annotated[
        bool, dial("Tell in `usage` how much of a prompt was cached; vLLM does when told to.", _API)
    ] = True
    enable_request_id_headers: Annotated[
        bool, dial("Put X-Request-Id on every answer: the client's, or a new one.", _API)
    ] = False
    loading_seconds: Annotated[
        _Seconds, dial("How long a server that has started answers 503 only.", _SPEED, "--startup-duration")
    ] = 0.0
    shutdown_timeout: Annotated[
        _Seconds, dial("Seconds that requests under way get when a server is stopped.", _SERVERS)
    ] = 0.0
    embedding_dimensions: Annotated[_Positive, dial("Length of an embedding.", _API)] = 1024
    image_step_seconds: Annotated[
        _Seconds, dial("How long a denoising step takes on 1024 x 1024 pixels.", _SPEED)
    ] = 0.1
    speech_real_time_factor: Annotated[
        _Seconds, dial("Seconds that a second of spoken sound takes.", _SPEED)
    ] = 0.1
    grpc_port: Annotated[
        _Port | None,
        dial(
            "Port of the first server for gRPC (VllmEngine), the others follow; 0 takes free ones.", _SERVERS
        ),
    ] = None
    dialect: Annotated[
        DialectName, dial("Engine that a server talks like: its metrics page, its own routes.", _METRICS)
    ] = "vllm"

    data_parallel_size: Annotated[
        _Positive, dial("Data-parallel ranks of one server, an engine each.", _DISTRIBUTED)
    ] = 1
    data_parallel_external_lb: Annotated[
        bool,
        dial("Give every rank a port of its own instead of spreading requests over them.", _DISTRIBUTED),
    ] = False
    kv_events_config: Annotated[
        KvEventsConfig | None, dial("KV events over ZMQ, as vLLM's flag of this name.", _DISTRIBUTED)
    ] = None
    kv_transfer_config: Annotated[
        KvTransferConfig | None,
        dial("Prefill for other servers, or decode what they computed; as vLLM's flag.", _DISTRIBUTED),
    ] = None

    faults: Annotated[
        list[Planned], dial("Faults and restarts, each at a time or at a request.", _FAULTS)
    ] = []

    def server(self) -> ServerConfig:
        """Return what each replica runs; ValueError for hardware without calibration or sizes that do not fit."""
        self._check_ranks()
        engine = self._engine()
        return ServerConfig(
            model=self.model,
            engine=engine,
            schedule=tuple(self.faults),
            speed=self.speed,
            dialect=self.dialect,
            served_model_names=tuple(self.served_model_name),
            lora_modules=tuple(self.lora_modules),
            allow_runtime_lora_updating=self.allow_runtime_lora_updating,
            enable_prompt_tokens_details=self.enable_prompt_tokens_details,
            enable_request_id_headers=self.enable_request_id_headers,
            api_keys=tuple(self.api_key),
            loading_seconds=self.loading_seconds,
            shutdown_seconds=self.shutdown_timeout,
            embedding_dimensions=self.embedding_dimensions,
            image_step_seconds=self.image_step_seconds,
            speech_real_time_factor=self.speech_real_time_factor,
            kv_events=self._kv_events(),
            kv_transfer=self.kv_transfer_config,
            kv_bytes_per_token=engine.step_time.shape.kv_bytes_per_token,
            tensor_parallel=self.hardware.tensor_parallel,
            data_parallel_size=self.data_parallel_size,
            grpc_port=self.grpc_port,
        )

    def _check_ranks(self) -> None:
        several = self.data_parallel_size > 1 and not self.data_parallel_external_lb
        if several and not DIALECTS[self.dialect].ranks:
            raise ValueError(
                f"the metrics page of dialect {self.dialect} cannot tell data-parallel ranks apart: use dialect vllm, or "
                "dataParallelExternalLb"
            )

    def _kv_events(self) -> KvEventsConfig | None:
        if (config := self.kv_events_config) is not None:
            config.check_ports(self.replicas * self.data_parallel_size)
        return config

    def _engine(self) -> EngineConfig:
        model, tp = self.hardware.calibration, self.hardware.tensor_parallel
        accelerator = self.hardware.accelerator
        step_time = StepTime.load(model, tp, accelerator)
        capacity = kv_capacity_tokens(model, tp, accelerator)
        block_bytes = step_time.shape.kv_bytes_per_token * self.block_size
        return EngineConfig(
            step_time=step_time,
            num_gpu_blocks=self.num_gpu_blocks or capacity // self.block_size,
            block_size=self.block_size,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            scheduling_policy=self.scheduling_policy,
            max_loras=self.max_loras,
            lora_load_seconds=self.lora_load_seconds,
            cpu_blocks=int(self.kv_offloading_size * _GIB / block_bytes),
            # Every GPU has a link of its own and loads its share of the heads.
            cpu_load_seconds_per_block=block_bytes / tp / self.kv_offloading_bandwidth,
            shared_blocks=int(self.shared_cache_size * _GIB / block_bytes),
            shared_load_seconds=self.shared_cache_latency,
            shared_load_seconds_per_block=block_bytes / self.shared_cache_bandwidth,
            enable_prefix_caching=self.enable_prefix_caching,
        )


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
