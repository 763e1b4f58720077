"""Which names a server answers to, in vLLM's words."""

from __future__ import annotations

import pytest

from igw.simulator.http.errors import ApiError
from igw.simulator.http.names import LoraModule, Names
from tests.simulator.http.recorded import ANSWERS


@pytest.fixture
def names() -> Names:
    """A model of two names with one adapter."""
    return Names(("big", "small"), (LoraModule("tuned", "adapters/tuned"),))


def test_a_name_is_the_models_or_an_adapters(names: Names) -> None:
    """None is the model's."""
    assert [names.adapter(name) for name in (None, "big", "small", "tuned")] == [None, None, None, "tuned"]


def test_an_unknown_name_is_a_404_that_lists_the_models_names(names: Names) -> None:
    """As recorded."""
    with pytest.raises(
        ApiError, match=r"The model `nope` does not exist\. Valid aliases: big, small"
    ) as caught:
        names.adapter("nope")
    assert (caught.value.status, caught.value.kind, caught.value.param) == (404, "NotFoundError", "model")


def test_an_adapter_can_be_loaded_and_unloaded(names: Names) -> None:
    """It is known in between."""
    names.load("new", "adapters/new")
    assert names.adapter("new") == "new"
    names.unload("new")
    with pytest.raises(ApiError):
        names.adapter("new")


def test_loading_twice_is_refused_unless_in_place(names: Names) -> None:
    """In vLLM's words; the model's own names are taken too."""
    names.load("lora-a", "x")
    with pytest.raises(ApiError) as caught:
        names.load("lora-a", "y")
    recorded = ANSWERS["adapter loaded again"]["error"]
    assert (caught.value.message, caught.value.kind) == (recorded["message"], recorded["type"])
    names.load("lora-a", "y", in_place=True)
    assert names.adapters["lora-a"].path == "y"
    with pytest.raises(ApiError):
        names.load("big", "y", in_place=True)


@pytest.mark.parametrize(("name", "path"), [("", "x"), ("x", "")])
def test_loading_needs_name_and_path(names: Names, name: str, path: str) -> None:
    """Neither may be empty."""
    with pytest.raises(ApiError, match="must be provided") as caught:
        names.load(name, path)
    assert (caught.value.status, caught.value.kind) == (400, "InvalidUserInput")


def test_unloading_needs_a_name_that_is_loaded(names: Names) -> None:
    """400 for none, 404 for an unknown one."""
    with pytest.raises(ApiError, match="needs to be provided") as caught:
        names.unload("")
    assert caught.value.status == 400
    with pytest.raises(ApiError, match="'nope' cannot be found") as caught:
        names.unload("nope")
    assert caught.value.status == 404
