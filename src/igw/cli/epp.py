"""`igw epp`: the endpoint picker as one process, as a container would run it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.cluster_flags import Named, followed
from igw.cli.debug_flags import Told
from igw.cli.explain_flags import Explained
from igw.cli.groups import Group, grouped
from igw.cli.log_flags import Logs
from igw.cli.metric_flags import Measured
from igw.cli.page_flags import Pages
from igw.cli.serving import serve
from igw.cli.serving_flags import Serving
from igw.cli.shadow_flags import Shadowed
from igw.cli.upstream_flags import Given
from igw.errors import ConfigError

if TYPE_CHECKING:
    from igw.app.settings import PickerSettings


class Deciding(Group, frozen=True):
    """How it decides."""

    config_file: Annotated[
        Path | None, typer.Option(help="EndpointPickerConfig; wins over one in -f. Watched.")
    ] = None
    config_text: Annotated[str, typer.Option(help="The same as text; wins over --config-file.")] = ""
    allow_experimental_plugins: Annotated[
        bool, typer.Option("--allow-experimental-plugins", help="Allow plugins that upstream calls Alpha.")
    ] = False
    disable_endpoint_subset_filter: Annotated[
        bool,
        typer.Option(
            "--disable-endpoint-subset-filter",
            help="Take all endpoints of a pool, whatever the gateway allows.",
        ),
    ] = False
    fail_open_on_faults: Annotated[
        bool,
        typer.Option(
            "--fail-open-on-faults",
            help="Let requests that a fault hits go by the pool's failure mode; else 500.",
        ),
    ] = False


class Exchanges(Group, frozen=True):
    """Requests and replies."""

    max_body_bytes: Annotated[
        int, typer.Option(help="Larger request bodies get 413 when they pass through the picker.", min=1)
    ] = 64 << 20
    max_json_depth: Annotated[
        int,
        typer.Option(help="JSON bodies nested deeper get 400; 0: what the decoder bears, near 1,000.", min=0),
    ] = 0
    max_json_keys: Annotated[
        int, typer.Option(help="JSON bodies with more keys get 400; 0: any number.", min=0)
    ] = 0
    max_media: Annotated[
        int, typer.Option(help="Requests with more images, videos, sounds and documents get 400.", min=0)
    ] = 512
    emit_endpoint_scores: Annotated[
        bool,
        typer.Option(
            "--emit-endpoint-scores", help="Tell the scores of all candidates with a pick, in metadata."
        ),
    ] = False
    plain_text_errors: Annotated[
        bool,
        typer.Option(
            "--plain-text-errors", help="Write errors as upstream's picker does, as a line of text."
        ),
    ] = False
    waiting_room: Annotated[
        str,
        typer.Option(
            help="Where clients that ask are told how long they wait, as gateways reach it; unless given nowhere. "
            "Port 0 takes a free one.",
            metavar="IP:PORT",
        ),
    ] = ""


@grouped
def epp(  # noqa: PLR0913, PLR0917 - one parameter per group of flags
    pools: Named,
    deciding: Deciding,
    serving: Serving,
    pages: Pages,
    exchanges: Exchanges,
    told: Told,
    explained: Explained,
    shadowed: Shadowed,
    measured: Measured,
    logs: Logs,
    upstream: Given,
) -> None:
    """Decide, per request, which endpoint of a pool should run it.

    Speaks Envoy's ext_proc (Gateway API Inference Extension, protocol 004) on the gRPC port.

    Objects are those of a cluster, unless there are files. Flags of upstream's picker that are not listed here are
    accepted or refused with a word on each: docs/operations.md.

    Example: igw epp -f examples/quickstart --grpc-port 9002
    """
    try:
        logs.configure()
        serving.prepare_grpc()
        upstream.answer()
        settings = followed(_settings(deciding, pages, exchanges, tuple(pools.files or ())), pools)
        settings = explained.kept(told.applied(_listening(settings, serving)))
        settings = measured.more(shadowed.beside(settings))
        import uvloop

        from igw.app.picker import Picker

        uvloop.run(serve(lambda: Picker(settings).running()))
    except ConfigError as error:
        sys.exit(f"igw epp: {error}")


def _settings(
    deciding: Deciding, pages: Pages, exchanges: Exchanges, paths: tuple[Path, ...]
) -> PickerSettings:
    from igw.app.settings import PickerSettings
    from igw.parsing.limits import Limits
    from igw.scraping.access import Access

    whom = (pages.ca_file, pages.cert_file, pages.key_file, pages.token_file)
    return PickerSettings(
        paths=paths,
        config_file=deciding.config_file,
        config_text=deciding.config_text,
        allow_experimental=deciding.allow_experimental_plugins,
        ignores_subsets=deciding.disable_endpoint_subset_filter,
        fail_open_on_faults=deciding.fail_open_on_faults,
        scrape_interval_seconds=pages.interval,
        metrics_access=Access(pages.scheme, pages.path, pages.port, pages.skip_verify, *whom),
        max_body_bytes=exchanges.max_body_bytes,
        body_limits=Limits(exchanges.max_json_depth, exchanges.max_json_keys, exchanges.max_media),
        emit_endpoint_scores=exchanges.emit_endpoint_scores,
        plain_text_errors=exchanges.plain_text_errors,
        waiting_room=exchanges.waiting_room,
    )


def _listening(settings: PickerSettings, serving: Serving) -> PickerSettings:
    in_cluster = settings.cluster is not None
    return msgspec.structs.replace(
        settings,
        bind_address=serving.bind_address,
        grpc_port=serving.grpc_port,
        health_port=serving.grpc_health_port,
        metrics_port=serving.metrics_port,
        tls=serving.tls(in_cluster=in_cluster),
        shutdown_delay_seconds=serving.delay_seconds(in_cluster=in_cluster),
        drain_seconds=serving.drain_timeout,
    )
