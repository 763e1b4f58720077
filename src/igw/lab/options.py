"""What a user of `igw replay` may set, one field per option, and the plan that follows from it. Running a plan is `replay`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from igw.config.decode import nearest
from igw.config.durations import seconds
from igw.errors import ConfigError
from igw.lab import catalogue, shaping
from igw.lab.policies.table import CLAIRVOYANT
from igw.lab.replay import Case, Plan
from igw.lab.scenario import DEFAULT_SERVERS, Add, Event, Lose, Restore, Scenario, Slow
from igw.lab.suite import suite
from igw.lab.summary import Objectives
from igw.lab.traces.catalogue import workload
from igw.lab.users import with_users
from igw.lab.workload import Workload
from igw.simulator import manifest
from igw.simulator.manifest import SimulatorSpec, dial

_WHAT, _HOW, _WHERE, _OUT = "What is asked", "How it is asked", "Servers and pickers", "What is counted"

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Texts as a user writes them: lists separated by commas, times as `10m` or seconds."""

    trace: Annotated[str, dial("A trace file, or a generator: shared-prefix, synthetic.", _WHAT)] = ""
    policy: Annotated[
        str,
        dial(
            "Policies, separated by commas: names (--list shows them) or EndpointPickerConfig files.", _WHAT
        ),
    ] = "round-robin,upstream-default,default"
    seeds: Annotated[_Count, dial("Runs per policy; each draws its own arrivals and ties.", _WHAT)] = 3
    suite: Annotated[str, dial("Named scenarios instead of a trace (--list shows them).", _WHAT)] = ""
    scenario: Annotated[str, dial("Only these of the suite, separated by commas.", _WHAT)] = ""
    format: Annotated[str, dial("Format of the trace; recognised if not given.", _WHAT)] = ""
    option: Annotated[
        dict[str, str], dial("A setting of the reader or the generator. May be repeated.", _WHAT)
    ] = {}
    rate: Annotated[
        str, dial("Factors on the rate of arrivals, separated by commas; several give curves.", _HOW)
    ] = "1"
    until: Annotated[str, dial("Only what arrives before, as 10m.", _HOW)] = ""
    requests: Annotated[_Count | None, dial("Only so many requests.", _HOW)] = None
    thin: Annotated[float, msgspec.Meta(gt=0, le=1), dial("Only this share of the sessions.", _HOW)] = 1.0
    users: Annotated[_Count | None, dial("So many users, each with one session after another.", _HOW)] = None
    max_context: Annotated[
        _Count | None, dial("Sessions end before their first request of more tokens.", _HOW)
    ] = None
    ramp: Annotated[str, dial("FROM:TO, the rate goes evenly from one factor to the other.", _HOW)] = ""
    burst: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        dial("Gaps between arrivals are drawn with this coefficient of variation.", _HOW),
    ] = None
    servers: Annotated[_Count, dial("Number of servers, Qwen3-32B on two H100 each.", _WHERE)] = 8
    event: Annotated[
        list[str],
        dial(
            "lose:SERVER@TIME, restore:SERVER@TIME, add@TIME or slow:SERVER:SPEED@FROM-TO. May be repeated.",
            _WHERE,
        ),
    ] = []
    pickers: Annotated[_Count, dial("Pickers that do not talk to each other.", _WHERE)] = 1
    signals: Annotated[
        Literal["lean", "full"],
        dial("lean: the picker hears of an answer at its end; full: of its first token too.", _WHERE),
    ] = "lean"
    scrape_interval: Annotated[str, dial("Shortest time between two scrapes of a server.", _WHERE)] = "50ms"
    warmup: Annotated[
        str, dial("What no figure counts: arrivals before a time, or a first share of requests as 10%.", _OUT)
    ] = "10%"
    limit: Annotated[str, dial("Virtual time after which a run is cut off.", _OUT)] = ""
    slo_ttft: Annotated[str, dial("Goodput: longest time to first token; empty for any.", _OUT)] = "2s"
    slo_tpot: Annotated[str, dial("Goodput: longest time per output token; empty for any.", _OUT)] = "50ms"
    slo_e2e: Annotated[str, dial("Goodput: longest time in all; empty for any.", _OUT)] = ""
    clairvoyant: Annotated[bool, dial("Also run the clairvoyant bound that regret is measured by.", _OUT)] = (
        True
    )


def plan(options: Options, files: tuple[Path, ...] = ()) -> Plan:
    """Return what is to be run. *files* hold Simulator objects to take as servers.

    Raises:
        ConfigError: an option that cannot be read or does not go with another, a trace or policy that cannot be used.
    """
    policies = list(dict.fromkeys(_split(options.policy)))
    if not policies:
        raise ConfigError("--policy", "there is no policy to replay", "name at least one")
    for policy in policies:
        catalogue.find(policy)
    if options.clairvoyant and not set(policies) & set(CLAIRVOYANT):
        policies.append(CLAIRVOYANT[0])
    return Plan(
        cases=_suite(options) if options.suite else _cases(options, files),
        policies=tuple(policies),
        seeds=tuple(range(options.seeds)),
        objectives=Objectives(
            _time("--slo-ttft", options.slo_ttft),
            _time("--slo-tpot", options.slo_tpot),
            _time("--slo-e2e", options.slo_e2e),
        ),
    )


def _suite(options: Options) -> tuple[Case, ...]:
    if options.trace:
        raise ConfigError("--suite", "a suite has its own traces", "leave --trace out")
    found = {each.name: each for each in suite(options.suite)}
    wanted = _split(options.scenario) or tuple(found)
    for name in wanted:
        if name not in found:
            raise ConfigError("--scenario", f"suite {options.suite} has no `{name}`", nearest(name, found))
    return tuple(Case(name, found[name].scenario) for name in wanted)


def _cases(options: Options, files: tuple[Path, ...]) -> tuple[Case, ...]:
    if not options.trace:
        raise ConfigError(
            "--trace", "there is nothing to replay", "name a trace file, a generator or a --suite"
        )
    base = _shaped(options, workload(options.trace, options.format, options.option))
    cases = []
    for text in _split(options.rate):
        rate = _number("--rate", text)
        scaled = base if rate == 1 else shaping.scaled(base, rate)
        title = base.name if rate == 1 else f"{base.name} at {rate:g} times its rate"
        scenario = _scenario(options, files, title, scaled)
        cases.append(Case(title, lambda _seed, scenario=scenario: scenario, rate))  # type: ignore[misc]
    return tuple(cases)


def _shaped(options: Options, work: Workload) -> Workload:
    """Return *work*, shorter, thinner and with other arrivals, as asked; in the order in which it must be."""
    if options.max_context is not None:
        work = shaping.limited(work, options.max_context)
    if options.thin < 1:
        work = shaping.thinned(work, options.thin, 0)
    if options.users is not None:
        work = with_users(work, options.users, 0)
    until = _time("--until", options.until)
    if until is not None:
        work = shaping.cut(work, seconds=until)
    if options.requests is not None:
        work = shaping.cut(work, requests=options.requests)
    if options.burst is not None:
        work = shaping.bursty(work, options.burst, 0)
    if options.ramp:
        start, _, end = options.ramp.partition(":")
        work = shaping.ramped(work, _number("--ramp", start), _number("--ramp", end))
    if not any(session.turns for session in work.sessions):
        raise ConfigError("--trace", "no request is left of it", "look at --until, --thin and --max-context")
    return work


def _scenario(options: Options, files: tuple[Path, ...], title: str, work: Workload) -> Scenario:
    warmup_seconds, warmup_share = _warmup(options.warmup)
    try:
        return Scenario(
            name=title,
            workload=work,
            servers=_servers(options, files),
            events=tuple(_event(text) for text in options.event),
            pickers=options.pickers,
            signals=options.signals,
            scrape_interval_seconds=_time("--scrape-interval", options.scrape_interval) or 0.05,
            warmup_seconds=warmup_seconds,
            warmup_share=warmup_share,
            limit_seconds=_time("--limit", options.limit),
        )
    except ValueError as error:
        raise ConfigError("--event" if options.event else "igw replay", str(error)) from error


def _servers(options: Options, files: tuple[Path, ...]) -> tuple[SimulatorSpec, ...]:
    if not files:
        return (replace(DEFAULT_SERVERS[0], replicas=options.servers),)
    found = manifest.read(files)
    if not found:
        names = ", ".join(map(str, files))
        raise ConfigError(
            names, "no object of kind Simulator", "apiVersion: igw.dev/v1alpha1, kind: Simulator"
        )
    return tuple(simulator.spec for simulator in found)


_EVENTS = {
    "lose": re.compile(r"lose:(\d+)@([^@-]+)"),
    "restore": re.compile(r"restore:(\d+)@([^@-]+)"),
    "slow": re.compile(r"slow:(\d+):([^:@]+)@([^@-]+)-([^@-]+)"),
    "add": re.compile(r"add@([^@-]+)"),
}


def _event(text: str) -> Event:
    for name, form in _EVENTS.items():
        if found := form.fullmatch(text):
            return _event_of(name, found.groups())
    hint = "lose:SERVER@TIME, restore:SERVER@TIME, add@TIME or slow:SERVER:SPEED@FROM-TO"
    raise ConfigError("--event", f"`{text}` is no event", hint)


def _event_of(name: str, parts: tuple[str, ...]) -> Event:
    at = _time("--event", parts[-1]) or 0.0
    if name == "add":
        return Add(replace(DEFAULT_SERVERS[0], replicas=1), at)
    if name == "slow":
        start = _time("--event", parts[2]) or 0.0
        return Slow(int(parts[0]), _number("--event", parts[1]), start, at)
    return (Lose if name == "lose" else Restore)(int(parts[0]), at)


def _warmup(text: str) -> tuple[float, float]:
    """Return seconds and share of the warm-up."""
    if text.endswith("%"):
        share = _number("--warmup", text[:-1], least=0.0) / 100
        if share >= 1:
            raise ConfigError(
                "--warmup", f"{text} of the requests leave nothing to count", "give less than 100%"
            )
        return 0.0, share
    return _time("--warmup", text) or 0.0, 0.0


def _time(option: str, text: str) -> float | None:
    """Return *text* in seconds, None where it is empty."""
    if not text:
        return None
    try:
        return seconds(text)
    except ValueError:
        try:
            return max(0.0, float(text))
        except ValueError as error:
            raise ConfigError(
                option, f"`{text}` is no time", "write 90s, 1m30s or a number of seconds"
            ) from error


def _number(option: str, text: str, least: float | None = None) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(option, f"`{text}` is no number") from error
    if value < least if least is not None else value <= 0:
        raise ConfigError(option, f"{text} is too small", "give a number above 0")
    return value


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
