"""The table of upstream's types: nothing in it contradicts what igw has."""

from __future__ import annotations

import pytest

from igw.facts import DEFAULT_PRODUCERS
from igw.scheduling import registry


def test_what_igw_has_plays_the_roles_that_upstream_says() -> None:
    """A class that lacks one of them would be passed over in silence."""
    methods = set(registry.ROLES.values())
    for kind, made_of in registry.classes().items():
        if kind in registry.UPSTREAM:
            roles = set(registry.UPSTREAM[kind].roles) & methods
            assert roles <= set(registry.roles_of(made_of)), kind


def test_producers_say_what_the_table_says() -> None:
    """Facts they need and provide."""
    for kind, made_of in registry.classes().items():
        if kind in registry.UPSTREAM and "producer" in registry.roles_of(made_of):
            known = registry.UPSTREAM[kind]
            assert tuple(made_of.provides) == known.provides
            assert set(getattr(made_of, "needs", ())) == {
                need.fact for need in known.needs if not need.optional
            }


def test_every_default_producer_is_known() -> None:
    """And provides the fact it stands for."""
    for fact, kind in DEFAULT_PRODUCERS.items():
        assert fact in registry.UPSTREAM[kind].provides


def test_every_type_that_igw_lacks_says_what_comes_of_it() -> None:
    """It has no effect here, or it comes later; which parameters it has is known or not asked."""
    for kind, known in registry.UPSTREAM.items():
        if registry.class_of(kind) is None:
            assert [bool(each) for each in (known.inert, known.elsewhere, known.later)].count(True) == 1, kind


@pytest.mark.parametrize("kind", [kind for kind, known in registry.UPSTREAM.items() if known.instead])
def test_what_is_deprecated_names_what_to_use(kind: str) -> None:
    """Something that is there and is not deprecated itself."""
    instead = registry.UPSTREAM[kind].instead
    assert not registry.UPSTREAM[instead].instead


def test_an_alias_is_the_same_class() -> None:
    """By both names."""
    for kind, known in registry.UPSTREAM.items():
        if known.alias:
            assert registry.class_of(kind) is registry.class_of(known.alias)


def test_types_of_ours_and_of_others_are_known_too() -> None:
    """By their own attributes."""

    class Mine:
        needs = ("A",)
        provides = ("B",)

        def produce(self) -> None: ...

    assert "round-robin-picker" in registry.types()
    known = registry.known("mine", Mine)
    assert (known.roles, known.provides, known.needs[0].fact) == (("producer",), ("B",), "A")
