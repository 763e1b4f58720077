"""Objects at and beyond every limit of the inference APIs, and what the API server must say of each."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

V1, OLD, ROUTER = (
    "inference.networking.k8s.io/v1",
    "inference.networking.x-k8s.io/v1alpha2",
    "llm-d.ai/v1alpha2",
)
IMPORT = "inference.networking.x-k8s.io/v1alpha1"
PLURALS = {
    "InferencePool": "inferencepools",
    "InferenceObjective": "inferenceobjectives",
    "InferenceModelRewrite": "inferencemodelrewrites",
    "InferencePoolImport": "inferencepoolimports",
}
REQUIRED, UNKNOWN, SHOULD_MATCH = "Required value", "unknown field", "should match"
GONE = ...
"""As a value: the field is left out."""

NO_SPEC = "An object without `spec` is refused; the CRDs of `InferenceModelRewrite` and `InferenceObjective` let it pass."
NO_SUCH_POOL = (
    "A `poolRef` whose group, kind or name is no pool's is refused; in a cluster the pool may come later."
)
MIXED = "A rule that weighs some of its targets and not others is refused; the CRD lets it pass."
SPLIT = "`split`, what `targets` was called in GIE v1.2, is read; the CRD has no such field."
INT32 = "A priority that needs more than 32 bits is refused; the API server does not look at that."
NULL = "`null` for a field that has a default is refused; the API server puts the default there."
TYPES = {"InferenceObjective": (ROUTER, OLD), "InferenceModelRewrite": (ROUTER, OLD)}
"""The kinds that two groups have, word for word the same."""

SPECS: dict[tuple[str, str], Any] = {
    ("InferencePool", V1): {
        "selector": {"matchLabels": {"app": "llama"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
    },
    ("InferencePool", OLD): {
        "selector": {"app": "llama"},
        "targetPortNumber": 8000,
        "extensionRef": {"name": "picker"},
    },
    ("InferenceObjective", ""): {"poolRef": {"name": "llama"}, "priority": 1},
    ("InferenceModelRewrite", ""): {
        "poolRef": {"name": "llama"},
        "rules": [{"matches": [{"model": {"value": "a"}}], "targets": [{"modelRewrite": "b", "weight": 1}]}],
    },
}
CONDITION = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "",
    "lastTransitionTime": "2026-01-31T12:00:00Z",
}


@dataclass(frozen=True)
class Row:
    """An object and what becomes of it. *refused* is a part of the API server's message; empty: it is accepted."""

    title: str
    kind: str
    api_version: str
    body: Mapping[str, Any]
    refused: str = ""
    in_files: str = ""
    """Why files are told otherwise, as docs/files.md puts it; empty: they are told the same."""

    @property
    def path(self) -> str:
        """Of the collection, below a namespace's."""
        return f"/apis/{self.api_version}/namespaces/%s/{PLURALS[self.kind]}"


def made(kind: str, api_version: str) -> dict[str, Any]:
    """Return an object that is right."""
    spec = SPECS.get((kind, api_version), SPECS.get((kind, "")))
    body: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "llama"}}
    return body if spec is None else body | {"spec": copy.deepcopy(spec)}


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return *body* with *value* at *path*, whose steps are keys and indices divided by `/`."""
    whole: Any = {"": body}
    at, last = whole, ""
    for step in path.split("/"):
        at, last = at[int(last) if isinstance(at, list) else last], step
    key = int(last) if isinstance(at, list) else last
    if value is GONE:
        del at[key]
    else:
        at[key] = value
    return body


def rows(kind: str, api_version: str, table: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    """Yield a row for each (title, path, value[, refused[, in files]])."""
    for title, path, value, *rest in table:
        body = changed(made(kind, api_version), path, copy.deepcopy(value))
        yield Row(f"{kind} {api_version}: {title}", kind, api_version, body, *rest)


def names(path: str, gone: str = REQUIRED) -> list[tuple[Any, ...]]:
    """Return what holds for the name of an object that is meant."""
    return [
        ("a reference without name", path, GONE, gone),
        ("a reference with an empty name", path, "", "should be at least 1 chars"),
        ("a name of 254 characters", path, "n" * 254, "may not be more than 253"),
    ]


def groups(path: str, in_files: str = "") -> list[tuple[Any, ...]]:
    """Return what holds for its group."""
    fine = [
        ("the core group", ""),
        ("a group with dots", "apps.example.com"),
        ("a group of 253 characters", "g" * 253),
    ]
    bad = [
        ("an upper-case group", "Apps", SHOULD_MATCH),
        ("a group with two dots in a row", "a..b", SHOULD_MATCH),
        ("a group that ends in a hyphen", "apps-", SHOULD_MATCH),
        ("a group of 254 characters", "g" * 254, "may not be more than 253"),
    ]
    return [(title, path, value, "", in_files) for title, value in fine] + [
        (t, path, v, m) for t, v, m in bad
    ]


def kinds(path: str, in_files: str = "") -> list[tuple[Any, ...]]:
    """Return what holds for its kind."""
    fine = [("another kind", "Other-2"), ("a kind of 63 characters", "K" * 63)]
    bad = [
        ("an empty kind", "", "should be at least 1 chars"),
        ("a kind that begins with a digit", "1K", SHOULD_MATCH),
        ("a kind that ends in a hyphen", "K-", SHOULD_MATCH),
        ("a kind of 64 characters", "K" * 64, "may not be more than 63"),
    ]
    return [(title, path, value, "", in_files) for title, value in fine] + [
        (t, path, v, m) for t, v, m in bad
    ]


def ports(path: str) -> list[tuple[Any, ...]]:
    """Return what holds for a port number."""
    return [
        ("the first port", path, 1),
        ("the last port", path, 65535),
        ("port 0", path, 0, "greater than or equal to 1"),
        ("a port above the last", path, 65536, "less than or equal to 65535"),
        ("a port in quotes", path, "8000", "must be of type integer"),
    ]


def labels(path: str) -> list[tuple[Any, ...]]:
    """Return what holds for the values of labels."""
    return [
        ("an empty label", path, {"app": ""}),
        ("a label of all sorts", path, {"app": "A-b_c.9"}),
        ("a label of 63 characters", path, {"app": "v" * 63}),
        ("a label of 64 characters", path, {"app": "v" * 64}, "may not be more than 63"),
        ("a label with a space", path, {"app": "a b"}, SHOULD_MATCH),
        ("a label that begins with a hyphen", path, {"app": "-a"}, SHOULD_MATCH),
        ("a label that is a number", path, {"app": 1}, "must be of type string"),
        ("a label's key that no Pod can have", path, {"a b": "c"}),
    ]


def failure_modes(path: str) -> list[tuple[Any, ...]]:
    """Return what holds for failureMode."""
    return [
        ("fail open", path, "FailOpen"),
        ("fail closed", path, "FailClose"),
        ("another failure mode", path, "failOpen", "Unsupported value"),
    ]


_REF, _LABELS, _PORTS = "spec/endpointPickerRef", "spec/selector/matchLabels", "spec/targetPorts"
POOL = rows(
    "InferencePool",
    V1,
    [
        ("as it is", "metadata/name", "other"),
        ("no spec", "spec", GONE, REQUIRED),
        ("a field nobody knows", "spec/endpoints", [], UNKNOWN),
        ("no selector", "spec/selector", GONE, REQUIRED),
        ("expressions", "spec/selector/matchExpressions", [], UNKNOWN),
        ("no labels", _LABELS, GONE, REQUIRED),
        ("not one label", _LABELS, {}, "should have at least 1 properties"),
        ("64 labels", _LABELS, {f"l{n}": "" for n in range(64)}),
        ("65 labels", _LABELS, {f"l{n}": "" for n in range(65)}, "must have at most 64"),
        *labels(_LABELS),
        ("no ports", _PORTS, GONE, REQUIRED),
        ("not one port", _PORTS, [], "should have at least 1 items"),
        ("8 ports", _PORTS, [{"number": n} for n in range(1, 9)]),
        ("9 ports", _PORTS, [{"number": n} for n in range(1, 10)], "must have at most 8 items"),
        ("a port twice", _PORTS, [{"number": n} for n in (1, 2, 1)], "port number must be unique"),
        ("a port without number", f"{_PORTS}/0", {}, REQUIRED),
        *ports(f"{_PORTS}/0/number"),
        ("HTTP/1.1", "spec/appProtocol", "http"),
        ("HTTP/2", "spec/appProtocol", "kubernetes.io/h2c"),
        ("another protocol", "spec/appProtocol", "grpc", "Unsupported value"),
        ("a protocol that is null", "spec/appProtocol", None, "", NULL),
        ("no picker", _REF, GONE),
        *names(f"{_REF}/name"),
        ("a name of 253 characters", f"{_REF}/name", "n" * 253),
        ("a name that no object can have", f"{_REF}/name", "Not A Name"),
        *groups(f"{_REF}/group"),
        *kinds(f"{_REF}/kind"),
        ("a Service", f"{_REF}/kind", "Service"),
        (
            "no port of a Service",
            _REF,
            {"name": "p", "kind": "Service"},
            "port is required when kind is 'Service'",
        ),
        ("no port, no kind", _REF, {"name": "p"}, "port is required when kind is 'Service'"),
        ("no port of another kind", _REF, {"name": "p", "kind": "Other"}),
        ("a picker's port without number", f"{_REF}/port", {}, REQUIRED),
        *ports(f"{_REF}/port/number"),
        *failure_modes(f"{_REF}/failureMode"),
    ],
)

_OLD_REF = "spec/extensionRef"
OLD_POOL = rows(
    "InferencePool",
    OLD,
    [
        ("as it is", "metadata/name", "other"),
        ("no spec", "spec", GONE),
        ("a field nobody knows", "spec/targetPorts", [], UNKNOWN),
        ("no selector", "spec/selector", GONE, REQUIRED),
        ("not one label", "spec/selector", {}),
        *labels("spec/selector"),
        ("no port", "spec/targetPortNumber", GONE, REQUIRED),
        *ports("spec/targetPortNumber"),
        ("no picker", _OLD_REF, GONE, REQUIRED),
        *names(f"{_OLD_REF}/name"),
        *groups(f"{_OLD_REF}/group"),
        *kinds(f"{_OLD_REF}/kind"),
        *ports(f"{_OLD_REF}/portNumber"),
        *failure_modes(f"{_OLD_REF}/failureMode"),
    ],
)

_POOL_REF = [
    ("as it is", "metadata/name", "other"),
    ("no spec", "spec", GONE, "", NO_SPEC),
    ("no pool", "spec/poolRef", GONE, REQUIRED),
    *names("spec/poolRef/name"),
    ("a pool that is not there", "spec/poolRef/name", "n" * 253, "", NO_SUCH_POOL),
    *groups("spec/poolRef/group", NO_SUCH_POOL),
    *kinds("spec/poolRef/kind", NO_SUCH_POOL),
]
OBJECTIVE = [
    *_POOL_REF,
    ("a field nobody knows", "spec/criticality", "Critical", UNKNOWN),
    ("no priority", "spec/priority", GONE),
    ("the highest priority", "spec/priority", 2**31 - 1),
    ("the lowest priority", "spec/priority", -(2**31)),
    ("a priority above the highest", "spec/priority", 2**31, "", INT32),
    ("a priority below the lowest", "spec/priority", -(2**31) - 1, "", INT32),
    ("a priority in quotes", "spec/priority", "1", "must be of type integer"),
    ("a priority with a fraction", "spec/priority", 1.5, "must be of type integer"),
]

_MODEL, _TARGETS = "spec/rules/0/matches/0/model", "spec/rules/0/targets"
REWRITE = [
    *_POOL_REF,
    ("no rules", "spec/rules", GONE, REQUIRED),
    ("not one rule", "spec/rules", []),
    ("a rule that says nothing", "spec/rules/0", {}),
    ("a field nobody knows", "spec/rules/0/match", [], UNKNOWN),
    ("not one match", "spec/rules/0/matches", []),
    ("100 rules", "spec/rules", [{"targets": [{"modelRewrite": "a"}]}] * 100),
    ("a match without model", "spec/rules/0/matches/0", {}, REQUIRED),
    ("a model without name", _MODEL, {}, REQUIRED),
    ("an empty model", f"{_MODEL}/value", "", "should be at least 1 chars"),
    ("a long model", f"{_MODEL}/value", "m" * 1000),
    ("an exact match", f"{_MODEL}/type", "Exact"),
    ("another match", f"{_MODEL}/type", "Prefix", "Unsupported value"),
    ("a type of match that is null", f"{_MODEL}/type", None, "", NULL),
    ("no targets", _TARGETS, GONE),
    ("not one target", _TARGETS, [], "should have at least 1 items"),
    ("a target without model", f"{_TARGETS}/0", {"weight": 1}, REQUIRED),
    ("a target with an empty model", f"{_TARGETS}/0/modelRewrite", ""),
    ("no weight", f"{_TARGETS}/0/weight", GONE),
    ("the largest weight", f"{_TARGETS}/0/weight", 1_000_000),
    ("no share", f"{_TARGETS}/0/weight", 0, "greater than or equal to 1"),
    ("a weight above the largest", f"{_TARGETS}/0/weight", 1_000_001, "less than or equal to 1000000"),
    ("some weights", _TARGETS, [{"modelRewrite": "a", "weight": 1}, {"modelRewrite": "b"}], "", MIXED),
    ("targets under their old name", "spec/rules/0", {"split": [{"modelRewrite": "a"}]}, UNKNOWN, SPLIT),
]
SPEC_ROWS = [
    *POOL,
    *OLD_POOL,
    *chain.from_iterable(rows("InferenceObjective", version, OBJECTIVE) for version in (ROUTER, OLD)),
    *chain.from_iterable(rows("InferenceModelRewrite", version, REWRITE) for version in (ROUTER, OLD)),
]


def conditions(path: str) -> list[tuple[Any, ...]]:
    """Return what holds for a list of conditions."""
    one = f"{path}/0"
    return [
        ("8 conditions", path, [CONDITION | {"type": f"T{n}"} for n in range(8)]),
        (
            "9 conditions",
            path,
            [CONDITION | {"type": f"T{n}"} for n in range(9)],
            "must have at most 8 items",
        ),
        ("a type twice", path, [CONDITION, CONDITION], "Duplicate value"),
        *((f"a condition without {field}", f"{one}/{field}", GONE, REQUIRED) for field in CONDITION),
        ("a type with a prefix", f"{one}/type", "example.com/T"),
        ("an empty type", f"{one}/type", "", SHOULD_MATCH),
        ("a type of 316 characters", f"{one}/type", "T" * 316),
        ("a type of 317 characters", f"{one}/type", "T" * 317, "may not be more than 316"),
        ("a status that is not known", f"{one}/status", "Unknown"),
        ("another status", f"{one}/status", "Maybe", "Unsupported value"),
        ("no reason", f"{one}/reason", "", "should be at least 1 chars"),
        ("a reason in words", f"{one}/reason", "not now", SHOULD_MATCH),
        ("a reason of 1024 characters", f"{one}/reason", "R" * 1024),
        ("a reason of 1025 characters", f"{one}/reason", "R" * 1025, "may not be more than 1024"),
        ("a message of 32768 characters", f"{one}/message", "m" * 32768),
        ("a message of 32769 characters", f"{one}/message", "m" * 32769, "may not be more than 32768"),
        ("a time that is none", f"{one}/lastTransitionTime", "now", "must be of type date-time"),
        ("a generation below 0", f"{one}/observedGeneration", -1, "greater than or equal to 0"),
    ]


def parents(path: str, most: int, *, with_controller: bool = True) -> list[tuple[Any, ...]]:
    """Return what holds for a list of parents of which there may be *most*; 0: any number."""
    parent, reference = {"parentRef": {"name": "web"}}, f"{path}/0/parentRef"
    many = most or 32
    return [
        (f"{many} parents", path, [parent] * many),
        (
            f"{many + 1} parents",
            path,
            [parent] * (many + 1),
            f"must have at most {most} items" if most else "",
        ),
        ("a parent without reference", reference, GONE, REQUIRED),
        *names(f"{reference}/name"),
        *groups(f"{reference}/group"),
        *kinds(f"{reference}/kind"),
        ("a namespace of 63 characters", f"{reference}/namespace", "n" * 63),
        ("a namespace of 64 characters", f"{reference}/namespace", "n" * 64, "may not be more than 63"),
        ("an upper-case namespace", f"{reference}/namespace", "Web", SHOULD_MATCH),
        ("an empty namespace", f"{reference}/namespace", "", "should be at least 1 chars"),
        ("no conditions", f"{path}/0/conditions", GONE),
        *conditions(f"{path}/0/conditions"),
        *(controllers(f"{path}/0/controllerName") if with_controller else ()),
    ]


def controllers(path: str) -> list[tuple[Any, ...]]:
    """Return what holds for the name of a controller."""
    return [
        ("a controller", path, "igw.dev/a~b:(c)/d"),
        ("a controller without path", path, "igw.dev", SHOULD_MATCH),
        ("an upper-case controller", path, "IGW.dev/c", SHOULD_MATCH),
        ("an empty controller", path, "", "should be at least 1 chars"),
        ("a controller of 253 characters", path, "igw.dev/" + "c" * 245),
        ("a controller of 254 characters", path, "igw.dev/" + "c" * 246, "may not be more than 253"),
    ]


_PARENT = {"parentRef": {"name": "web"}, "controllerName": "igw.dev/c", "conditions": [CONDITION]}
_CONTROLLER = {
    "name": "igw.dev/c",
    "exportingClusters": [{"name": "west"}],
    "parents": [_PARENT],
    "conditions": [CONDITION],
}
STATUSES: list[tuple[str, str, Any, list[tuple[Any, ...]]]] = [
    ("InferencePool", V1, {"parents": [_PARENT]}, parents("status/parents", 32)),
    (
        "InferencePool",
        OLD,
        {"parent": [{key: _PARENT[key] for key in ("parentRef", "conditions")}]},
        parents("status/parent", 32, with_controller=False),
    ),
    *(
        (kind, version, {"conditions": [CONDITION]}, conditions("status/conditions"))
        for kind, versions in TYPES.items()
        for version in versions
    ),
    (
        "InferencePoolImport",
        IMPORT,
        {"controllers": [_CONTROLLER]},
        [
            ("no controllers", "status/controllers", GONE, REQUIRED),
            ("8 controllers", "status/controllers", [{"name": f"igw.dev/{n}"} for n in range(8)]),
            (
                "9 controllers",
                "status/controllers",
                [{"name": f"igw.dev/{n}"} for n in range(9)],
                "at most 8 items",
            ),
            ("a controller twice", "status/controllers", [{"name": "igw.dev/c"}] * 2, "Duplicate value"),
            ("a controller without name", "status/controllers/0/name", GONE, REQUIRED),
            *controllers("status/controllers/0/name"),
            ("a cluster twice", "status/controllers/0/exportingClusters", [{"name": "west"}] * 2),
            (
                "100 clusters",
                "status/controllers/0/exportingClusters",
                [{"name": f"c{n}"} for n in range(100)],
            ),
            *names("status/controllers/0/exportingClusters/0/name"),
            *conditions("status/controllers/0/conditions"),
            *parents("status/controllers/0/parents", 0),
        ],
    ),
]


def status_rows() -> Iterator[Row]:
    """Yield objects whose status is at or beyond a limit."""
    for kind, version, status, table in STATUSES:
        for title, path, value, *rest in table:
            body = changed(
                made(kind, version) | {"status": copy.deepcopy(status)}, path, copy.deepcopy(value)
            )
            yield Row(f"{kind} {version} status: {title} ({path})", kind, version, body, *rest)
