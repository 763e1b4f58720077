"""What rewrites say and their author will hardly have meant: codes and words as `igw.scheduling.concerns` has them for the picker's configuration.

Errors are raised where a file is read (`igw.config.models`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from igw.config.manifests import Manifests
from igw.config.models import InferenceModelRewrite
from igw.discovery import snapshot
from igw.routing.rewriting import Rewrites
from igw.scheduling.concerns import Concern


def rewrite_concerns(manifests: Manifests) -> list[Concern]:
    """Return what there is to say of the rewrites among *manifests*, by code."""
    found = [concern for each in manifests.rewrites for concern in _of_object(each, manifests.sources)]
    for sources in snapshot.rewrites(manifests).values():
        where = {each.key: _source(each, manifests.sources) for each in sources}
        for rule in Rewrites(sources).hidden:
            key, index = rule.of
            what = "every model" if not rule.models else " and ".join(f"`{model}`" for model in rule.models)
            message = f"never decides: a rule that has precedence fits {what} too"
            found.append(Concern("IGW020", f"{where[key]} $.spec.rules[{index}]", message))
    return sorted(found, key=lambda concern: concern.code)


def _of_object(each: InferenceModelRewrite, sources: Mapping[str, str]) -> Iterator[Concern]:
    for index, rule in enumerate(each.spec.rules):
        where = f"{_source(each, sources)} $.spec.rules[{index}]"
        if rule.split is not None:
            yield Concern("IGW002", f"{where}.split", "is called `targets` since GIE v1.3")
        if not rule.chosen_from:
            yield Concern("IGW020", where, "has no targets: the names it fits stay as they are")
        elif not rule.matches:
            yield Concern(
                "IGW021", where, f"has no matches: every model name of pool {each.pool} without a rule of its own is rewritten"
            )  # fmt: skip
        if any(not target.model_rewrite for target in rule.chosen_from):
            yield Concern(
                "IGW020", where, "has a target without a name: its share of the requests stays as it is"
            )


def _source(each: InferenceModelRewrite, sources: Mapping[str, str]) -> str:
    return sources.get(f"{each.kind} {each.key}", f"{each.kind} {each.key}")
