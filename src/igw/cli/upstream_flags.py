"""Flags of upstream's picker that are not ours, so that nobody's start command breaks silently: what each is answered. The others are in `epp`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Self

import msgspec
import structlog
import typer

from igw.cli.groups import Group
from igw.errors import ConfigError

log = structlog.get_logger("flags")


class Foreign(msgspec.Struct, frozen=True):
    """One flag, without its dashes, and the word on it."""

    flag: str
    word: str
    """Why it has no effect; for one that is refused what to use instead."""
    refused: bool = False
    switch: bool = False
    as_here: str = ""
    """A value that asks for what is so anyway: nothing is said."""

    @property
    def parameter(self) -> inspect.Parameter:
        """The parameter of which typer makes the flag: None if it is not given."""
        named = f"--{self.flag}/--no-{self.flag}" if self.switch else f"--{self.flag}"
        option = typer.Option(named, hidden=True, help=self.word)
        kind = bool if self.switch else str
        return inspect.Parameter(
            self.flag.replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, option],
        )


_ENGINES = "metrics are named by `engineConfigs` of the plugin core-metrics-extractor (docs/engines.md)"
_LOGS = "logs have times in ISO 8601 and tracebacks of faults"

FOREIGN = (
    Foreign("total-queued-requests-metric", _ENGINES, refused=True, as_here="vllm:num_requests_waiting"),
    Foreign("total-running-requests-metric", _ENGINES, refused=True, as_here="vllm:num_requests_running"),
    Foreign("kv-cache-usage-percentage-metric", _ENGINES, refused=True, as_here="vllm:kv_cache_usage_perc"),
    Foreign("lora-info-metric", _ENGINES, refused=True, as_here="vllm:lora_requests_info"),
    Foreign("cache-info-metric", _ENGINES, refused=True, as_here="vllm:cache_config_info"),
    Foreign(
        "metrics-cert-dir",
        "the metrics port has no TLS; keep it inside, by a NetworkPolicy for example",
        refused=True,
    ),
    Foreign(
        "metrics-client-ca-file",
        "the metrics port has no TLS; keep it inside, by a NetworkPolicy for example",
        refused=True,
    ),
    Foreign("grpc-max-recv-msg-size", "a message may have 1 MiB more than --max-body-bytes"),
    Foreign("grpc-max-send-msg-size", "a message may have 1 MiB more than --max-body-bytes"),
    Foreign("refresh-prometheus-metrics-interval", "gauges are worked out whenever the page is asked for"),
    Foreign(
        "metrics-staleness-threshold",
        "an endpoint is out after three scrapes in a row that failed, and what it said last is not believed while an answer is overdue",
    ),
    Foreign(
        "enable-cert-reload", "certificates are read again whenever they change", switch=True, as_here="True"
    ),
    Foreign("health-checking", "the gRPC port always has the health service", switch=True, as_here="True"),
    Foreign(
        "enable-pprof",
        "pprof is for programs in Go; GET /debug/profile is its counterpart",
        switch=True,
        as_here="False",
    ),
    Foreign("zap-devel", _LOGS, switch=True, as_here="False"),
    Foreign("zap-stacktrace-level", _LOGS),
    Foreign("zap-time-encoding", _LOGS, as_here="iso8601"),
)


class Given(Group, frozen=True):
    """Flags of upstream's picker that are not ours."""

    said: Mapping[str, Any]
    """By flag, without dashes."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return one for each; `--help` does not list them."""
        return [each.parameter for each in FOREIGN]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return those that were given."""
        said = {each.flag: values[each.parameter.name] for each in FOREIGN}
        return cls({flag: value for flag, value in said.items() if value is not None})

    def answer(self) -> None:
        """Say in the log which have no effect, and why.

        Raises:
            ConfigError: one asks for what would be decided by, and is not.
        """
        for each in FOREIGN:
            if str(self.said.get(each.flag, each.as_here)) == each.as_here:
                continue
            if each.refused:
                raise ConfigError(
                    f"--{each.flag}", "is a flag of upstream's picker that igw does not have", each.word
                )
            log.warning("flag_without_effect", flag=f"--{each.flag}", why=each.word)
