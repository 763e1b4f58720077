"""Objects of older APIs -> today's: InferenceModel (GIE v0.1 to v0.5), and what will be different; InferencePool v1alpha2. Pure.

Older forms of an EndpointPickerConfig are in `igw.config.legacy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from igw.config.documents import Document
from igw.config.models import MODEL_VERSIONS, InferenceModel, OldTarget, old_model

PRIORITIES = {"Critical": 1, "Standard": 0, "Sheddable": -1}
"""Criticality -> priority: only their order and the sign count, 0 and above is never shed."""

_OLD_PICKER_PORT = 9002


class Converted(msgspec.Struct, frozen=True):
    """New documents, and where and how they mean something else than the old ones."""

    documents: list[dict[str, Any]]
    notes: list[tuple[str, str]]


def converted(documents: Iterable[Document]) -> Converted:
    """Return what the InferenceModels among *documents* become, in their order.

    Raises:
        ConfigError: an InferenceModel that cannot be used.
    """
    models = [(document, old_model(document)) for document in documents if document.kind == "InferenceModel"]
    first = _first_of_each_name(model for _, model in models)
    made: list[dict[str, Any]] = []
    notes: list[tuple[str, str]] = []
    for document, model in models:
        made.append(_objective(model))
        notes += [(document.source, note) for note in _on_objective(model)]
        owner = first[_claim(model)]
        if owner is not model:
            note = f"`{model.spec.model_name}` belongs to {owner.key}, which is older: no rewrite was written"
            notes.append((document.source, note))
            continue
        targets = [target for target in model.spec.target_models if target.weight != 0]
        notes += [(document.source, note) for note in _on_targets(model, targets)]
        if any(target.name != model.spec.model_name for target in targets):
            made.append(_rewrite(model, targets))
    return Converted(made, notes)


def todays_pool(document: Document) -> Document:
    """Return an InferencePool of v1alpha2 as one of v1 would say the same; what is not known stays, for the reader to complain of.

    A picker without a port is at 9002 there.
    """
    spec = dict(document.body.get("spec") or {})
    if "selector" in spec:
        spec["selector"] = {"matchLabels": spec["selector"]}
    if "targetPortNumber" in spec:
        spec["targetPorts"] = [{"number": spec.pop("targetPortNumber")}]
    if "extensionRef" in spec:
        picker = dict(spec.pop("extensionRef"))
        port = picker.pop("portNumber", _OLD_PICKER_PORT)
        spec["endpointPickerRef"] = {**picker, "port": {"number": port}}
    return msgspec.structs.replace(document, body={**document.body, "spec": spec})


def _claim(model: InferenceModel) -> tuple[str, str, str]:
    return model.namespace, model.spec.pool_ref.name, model.spec.model_name


def _first_of_each_name(models: Iterable[InferenceModel]) -> dict[tuple[str, str, str], InferenceModel]:
    """Return who has each name of each pool: the oldest, then the one that was read first."""
    first: dict[tuple[str, str, str], InferenceModel] = {}
    for model in sorted(models, key=lambda each: each.created):
        first.setdefault(_claim(model), model)
    return first


def _on_objective(model: InferenceModel) -> Iterator[str]:
    criticality = model.spec.criticality
    written = f"criticality {criticality}" if criticality else "no criticality, which meant Standard,"
    yield (
        f"{written} is priority {PRIORITIES[criticality or 'Standard']} now, and only of requests with the header "
        f"`x-llm-d-inference-objective: {model.name}`"
    )


def _on_targets(model: InferenceModel, left: list[OldTarget]) -> Iterator[str]:
    for target in model.spec.target_models:
        if target.weight == 0:
            yield f"target `{target.name}` has weight 0: it is left out, and gets nothing as before"
    if model.spec.target_models and not left:
        yield f"`{model.spec.model_name}` has no target left: it goes to the model server under its own name"


def _metadata(model: InferenceModel) -> dict[str, Any]:
    kept = {"name": model.name}
    if model.namespace != "default":
        kept["namespace"] = model.namespace
    return {**kept, **({"labels": model.metadata.labels} if model.metadata.labels else {})}


def _objective(model: InferenceModel) -> dict[str, Any]:
    return {
        "apiVersion": MODEL_VERSIONS[0],
        "kind": "InferenceObjective",
        "metadata": _metadata(model),
        "spec": {
            "poolRef": {"name": model.spec.pool_ref.name},
            "priority": PRIORITIES[model.spec.criticality or "Standard"],
        },
    }


def _rewrite(model: InferenceModel, targets: list[OldTarget]) -> dict[str, Any]:
    written = [
        {"modelRewrite": target.name, **({"weight": target.weight} if target.weight else {})}
        for target in targets
    ]
    rule = {"matches": [{"model": {"value": model.spec.model_name}}], "targets": written}
    return {
        "apiVersion": MODEL_VERSIONS[0],
        "kind": "InferenceModelRewrite",
        "metadata": _metadata(model),
        "spec": {"poolRef": {"name": model.spec.pool_ref.name}, "rules": [rule]},
    }
