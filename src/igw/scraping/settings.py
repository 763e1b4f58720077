"""What a scraper goes by: engines, access, interval; and what an `EndpointPickerConfig` says of them.

Its sources and extractors are found by `igw.scheduling.resolved`; what engines say is `mapping`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from igw.config.decode import decode, nearest
from igw.config.documents import Document
from igw.config.durations import seconds
from igw.errors import ConfigError
from igw.scheduling.resolved import Resolved
from igw.scheduling.specs import Spec as Plugin
from igw.scheduling.wiring import EXTRACTOR, SOURCE
from igw.scraping.access import Access
from igw.scraping.engines.builtin import ENGINES
from igw.scraping.mapping import Engine, Spec
from igw.scraping.reader import LABEL_KEYS, Engines

T = TypeVar("T")

_SHORTEST_SECONDS = 0.05
_CORE = frozenset({"WaitingQueueSize", "RunningRequestsSize", "KVCacheUsagePercent"})
_SPEC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\}\s*)?", re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",{}=]*?))\s*(?:,|$)')


class Scraping(msgspec.Struct, frozen=True):
    """What scrapers go by."""

    interval_seconds: float = _SHORTEST_SECONDS
    """The shortest pause between two scrapes of an endpoint."""
    access: Access = Access()
    engines: Engines = Engines()
    further: tuple[Scraping, ...] = ()
    """Further pages of every endpoint, where a configuration has several sources; they have none."""

    @property
    def pages(self) -> tuple[Scraping, ...]:
        """All pages of an endpoint."""
        return (self, *self.further)


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Parameters of upstream's plugins are in camel case; what is not known is an error."""


class CustomMetric(_Parameters, frozen=True):
    """A number that `endpoint-attribute-scorer` and `-filter` can go by."""

    attribute_key: str = ""
    metric_spec: str = ""


class EngineConfig(_Parameters, frozen=True):
    """What an engine calls things; an empty spec leaves that unknown. Upstream's fields."""

    name: str = ""
    queued_requests_spec: str = ""
    running_requests_spec: str = ""
    kv_usage_spec: str = msgspec.field(name="kvUsageSpec", default="")
    lora_spec: str = ""
    cache_info_spec: str = ""
    cache_block_size_label_name: str = ""
    cache_num_blocks_label_name: str = ""
    cache_block_size_spec: str = ""
    cache_num_blocks_spec: str = ""
    custom_metrics: list[CustomMetric] = []


class CoreMetricsExtractor(_Parameters, frozen=True):
    """Parameters of `core-metrics-extractor`."""

    engine_label_key: str = LABEL_KEYS[0]
    default_engine: str | None = None
    engine_configs: list[EngineConfig] = []


class MetricsDataSource(_Parameters, frozen=True):
    """Parameters of `metrics-data-source`; what is not written is as the flags say."""

    scheme: Literal["http", "https"] | None = None
    path: (
        Annotated[str, Meta(pattern="^/", extra_json_schema={"description": "a path such as /metrics"})]
        | None
    ) = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    insecure_skip_verify: bool | None = None
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    bearer_token_path: str = ""
    """Ours."""
    interval: str = ""


def configured(resolved: Resolved, flags: Scraping) -> Scraping:
    """Return *flags*, overridden by what a configuration says.

    Raises:
        ConfigError: a parameter of the metrics source or its extractor that cannot be used.
    """
    sources = [name for name in resolved.sources if resolved.specs[name].kind == SOURCE]
    if not sources:
        return flags
    first, *further = [_page(resolved, name, flags) for name in sources]
    return replace(first, further=tuple(further))


def _page(resolved: Resolved, source: str, flags: Scraping) -> Scraping:
    found = flags
    for name in resolved.sources[source]:
        if resolved.specs[name].kind == EXTRACTOR:
            found = replace(found, engines=_engines(resolved.specs[name]))
    return _sourced(resolved.specs[source], found)


def _sourced(plugin: Plugin, flags: Scraping) -> Scraping:
    where, written = f"{plugin.where}.parameters", _decoded(plugin, MetricsDataSource)
    access = flags.access
    given = {
        "scheme": written.scheme, "path": written.path, "port": written.port, "insecure_skip_verify": written.insecure_skip_verify,
        "ca_file": _path(written.ca_cert_path), "cert_file": _path(written.client_cert_path),
        "key_file": _path(written.client_key_path), "token_file": _path(written.bearer_token_path),
    }  # fmt: skip
    access = replace(access, **{name: value for name, value in given.items() if value is not None})
    if (access.cert_file is None) != (access.key_file is None):
        raise ConfigError(where, "clientCertPath and clientKeyPath belong together, one of them is missing")
    if not written.interval:
        return replace(flags, access=access)
    try:
        interval = max(_SHORTEST_SECONDS, seconds(written.interval))
    except ValueError as error:
        raise ConfigError(f"{where}.interval", str(error)) from error
    return replace(flags, access=access, interval_seconds=interval)


def _path(written: str) -> Path | None:
    return Path(written) if written else None


def _decoded(plugin: Plugin, shape: type[T]) -> T:
    place = f"{plugin.where}.parameters" if plugin.written else plugin.where
    return decode(Document(place, "", plugin.kind, plugin.name, "", plugin.parameters), shape)


def _engines(plugin: Plugin) -> Engines:
    where, written = f"{plugin.where}.parameters", _decoded(plugin, CoreMetricsExtractor)
    own: dict[str, Engine] = {}
    for index, config in enumerate(written.engine_configs):
        place = f"{where}.engineConfigs[{index}]"
        if not config.name or config.name == "default":
            raise ConfigError(f"{place}.name", "an engine needs a name, other than `default`")
        if config.name in own:
            raise ConfigError(f"{place}.name", f"there are two engines named `{config.name}`")
        own[config.name] = _engine(config, place)
    by_name = {**ENGINES, **own}
    default = written.default_engine
    if default is not None and default not in by_name:
        raise ConfigError(
            f"{where}.defaultEngine", f"there is no engine `{default}`", nearest(default, by_name)
        )
    keys = dict.fromkeys((written.engine_label_key, LABEL_KEYS[1]))
    return Engines(by_name, tuple(keys), default)


def _engine(config: EngineConfig, where: str) -> Engine:
    def specs(field: str, written: str) -> tuple[Spec, ...]:
        return (parsed(written, f"{where}.{field}"),) if written else ()

    info = specs("cacheInfoSpec", config.cache_info_spec)
    sizes = specs("cacheBlockSizeSpec", config.cache_block_size_spec)
    blocks = specs("cacheNumBlocksSpec", config.cache_num_blocks_spec)
    if info and config.cache_block_size_label_name:
        sizes = (replace(info[0], label=config.cache_block_size_label_name.encode()), *sizes)
    if info and config.cache_num_blocks_label_name:
        blocks = (replace(info[0], label=config.cache_num_blocks_label_name.encode()), *blocks)
    lora = specs("loraSpec", config.lora_spec)
    # One that takes the place of a built-in engine is still recognised by its page, and its ranks are told apart alike.
    built_in = ENGINES.get(config.name, Engine(config.name))
    return Engine(
        config.name,
        marks=built_in.marks,
        waiting=specs("queuedRequestsSpec", config.queued_requests_spec),
        running=specs("runningRequestsSpec", config.running_requests_spec),
        kv_usage=specs("kvUsageSpec", config.kv_usage_spec),
        block_size=sizes,
        blocks=blocks,
        lifetime=built_in.lifetime,
        lora=lora[0].name if lora else b"",
        rank=built_in.rank,
        scalars=_custom(config.custom_metrics, where),
    )


def _custom(written: list[CustomMetric], where: str) -> tuple[tuple[str, Spec], ...]:
    found: dict[str, Spec] = {}
    for index, each in enumerate(written):
        place = f"{where}.customMetrics[{index}]"
        if not each.attribute_key:
            raise ConfigError(f"{place}.attributeKey", "a custom metric needs a key")
        if each.attribute_key in found or each.attribute_key in _CORE:
            raise ConfigError(
                f"{place}.attributeKey", f"there are two metrics with the key `{each.attribute_key}`"
            )
        found[each.attribute_key] = parsed(each.metric_spec, f"{place}.metricSpec")
    return tuple(found.items())


def parsed(written: str, where: str) -> Spec:
    """Return a spec as upstream writes it: `name` or `name{label=value,label2="value"}`.

    Raises:
        ConfigError: it is neither.
    """
    match = _SPEC.fullmatch(written)
    problem = f"`{written}` is no metric", "write name or name{label=value}"
    if match is None:
        raise ConfigError(where, *problem)
    matchers: dict[bytes, str] = {}
    rest, at = match[2] or "", 0
    while rest[at:].strip():
        part = _MATCHER.match(rest, at)
        if part is None or part[1].encode() in matchers:
            raise ConfigError(where, *problem)
        quoted, bare = part[2], part[3]
        matchers[part[1].encode()] = bare if quoted is None else re.sub(r"\\(.)", _unescaped, quoted)
        at = part.end()
    return Spec(match[1].encode(), tuple(matchers.items()))


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
