"""An overview on a terminal (`igw top`). What it says is `overview`; decisions look as `igw explain` has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from igw.dashboard.overview import Health, Overview, Pool, Quantiles, Queue
from igw.explaining import table
from igw.explaining.explanation import Line
from igw.explaining.sentences import seconds

_OUT = (Health.FAILING, Health.EJECTED)
_MOST_SERVERS = 40
_FEWEST_SERVERS = 4
_OTHER_LINES = 9
"""What is not servers, queues or decisions."""
_MOST_TENANTS = 5


def overview(found: Overview, decisions: Sequence[Line], height: int | None = None) -> RenderableType:
    """Return *found* and the latest *decisions* in at most about *height* lines, where servers give way first."""
    room = _MOST_SERVERS
    if height is not None:
        taken = _OTHER_LINES + len(decisions) + 2 * len(found.queues)
        room = max(_FEWEST_SERVERS, (height - taken) // max(1, len(found.pools)) - 3)
    parts: list[RenderableType] = [_traffic(found)]
    for pool in found.pools:
        parts += ["", _title(pool), _servers(pool, room)]
    for queue in found.queues:
        parts += ["", *map(Text, _queue(queue))]
    if decisions:
        parts += ["", Text("recent decisions, `igw explain ID` says more", style="bold")]
        parts.append(table.lines(decisions, found.at))
    return Group(*parts)


def _traffic(found: Overview) -> RenderableType:
    now = found.traffic
    grid = _table("", "a second", "", "p50", "p95", "p99")
    rows: Iterable[tuple[str, float, str, Quantiles]] = (
        ("requests", now.ended_per_second, "first token", now.ttft),
        ("errors", now.failed_per_second + now.refused_per_second, "between tokens", now.tpot),
        ("tokens out", now.completion_tokens_per_second, "whole answer", now.e2e),
    )
    for name, rate, what, times in rows:
        grid.add_row(name, f"{rate:.4g}", what, *map(_time, (times.p50, times.p95, times.p99)))
    cached = "not known" if now.cached_share is None else f"{now.cached_share:.0%}"
    head = f"igw {found.version}, up {_span(found.up_seconds)}: {found.inflight} in flight, of prompts {cached} cached"
    return Group(Text(head, style="bold"), grid)


def _title(pool: Pool) -> Text:
    out = sum(each in _OUT for each in pool.health)
    models = f", {', '.join(pool.models[:3])}" if pool.models else ""
    title = Text(f"pool {pool.key}: {len(pool.names)} servers{models}", style="bold")
    return title.append(f", {out} out", style="red") if out else title


def _servers(pool: Pool, room: int) -> RenderableType:
    """Return those that are out first, then the busiest."""
    rows = _table("server", "health", "in flight", "batch", "queue", "backlog", "KV memory", "cached tokens")
    order = sorted(
        range(len(pool.names)),
        key=lambda at: (pool.health[at] not in _OUT, -pool.inflight[at], -pool.backlog_seconds[at], at),
    )
    for at in order[:room]:
        health = pool.health[at]
        style = "red" if health in _OUT else "green" if health is Health.ANSWERS else "yellow"
        rows.add_row(
            escape(pool.names[at]),
            Text(health.name.lower(), style=style),
            f"{pool.inflight[at]:.0f}",
            _number(pool.running[at], "g"),
            _number(pool.waiting[at], "g"),
            _time(pool.backlog_seconds[at]),
            _number(pool.kv_usage[at], ".1%"),
            str(pool.cached_tokens[at]),
        )
    left = len(order) - room
    return rows if left <= 0 else Group(rows, Text(f"and {left} more", style="dim"))


def _queue(queue: Queue) -> Iterable[str]:
    bands = ", ".join(f"{each.requests} of priority {each.priority}" for each in queue.bands if each.requests)
    waiting = f"{queue.requests} wait" + (f" ({bands})" if bands else "")
    yield f"queue {queue.pool}: {waiting}, {queue.drain_per_second:.3g} a second leave, saturation {queue.saturation:.0%}"
    tenants = [f"{each.fairness_id or '(none)'} {each.requests}" for each in queue.tenants[:_MOST_TENANTS]]
    if tenants:
        yield f"  tenants: {', '.join(tenants)}" + (", ..." if queue.tenants_total > len(tenants) else "")


def _table(*heads: str) -> Table:
    found = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        found.add_column(head, no_wrap=True, justify="left" if head in {"", "server", "health"} else "right")
    return found


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(value) if value else "0"


def _span(value: float) -> str:
    hours, minutes = divmod(int(value) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{int(value)} s"
