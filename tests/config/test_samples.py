"""Upstream's sample configurations, written anew from what they mean: all that upstream starts with are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from igw.config import documents
from igw.config.manifests import load
from igw.errors import ConfigError
from igw.scheduling import configured, printed
from igw.scheduling.concerns import concerns
from igw.scheduling.resolved import Resolved, resolve

SAMPLES = Path(__file__).parent / "samples"
ACCEPTED = sorted(path for path in SAMPLES.iterdir() if path.is_file())

EXPECTED = {
    "accelerators": {"IGW001", "IGW004", "IGW013"},
    "burst-prefix": {"IGW001", "IGW004"},
    "data-parallel": {"IGW009"},
    "decode-prefix": {"IGW009"},
    "encode-decode": {"IGW001", "IGW018"},
    "encode-prefill-decode": {"IGW001", "IGW018"},
    "exact-tokens": {"IGW009"},
    "no-hit-lru": {"IGW007", "IGW008", "IGW009"},
    "payload-agnostic": {"IGW004"},
    "precise-one-socket": {"IGW009"},
    "predicted-latency": {"IGW001"},
    "prefill-decode": {"IGW001"},
    "prefill-decode-topology": {"IGW001", "IGW004", "IGW015"},
    "reflective-ceiling": {"IGW004"},
    "simulated-prefill-decode": {"IGW001"},
}
"""What there is to say of a sample; nothing of those that are not here."""


def sample(path: Path) -> Resolved:
    """Return a sample with its defaults filled in."""
    document = load([path]).picker_config
    assert document is not None
    return resolve(document)


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_a_sample_is_accepted_with_the_warnings_it_deserves(path: Path) -> None:
    """Those that need something igw does not have yet say so."""
    resolved = sample(path)
    assert {concern.code for concern in concerns(resolved)} == EXPECTED.get(path.stem, set())
    configured.decoded(resolved.specs.values())


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_a_sample_runs_or_says_what_is_missing(path: Path) -> None:
    """Nothing is passed over that would change a pick."""
    resolved = sample(path)
    if resolved.later:
        with pytest.raises(ConfigError, match="known to upstream, not yet in igw"):
            configured.built(resolved)
    else:
        assert configured.built(resolved).profiles.keys() == resolved.profiles.keys()


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_what_is_printed_is_the_same_configuration(path: Path, tmp_path: Path) -> None:
    """It can be loaded, and resolving it again changes nothing."""
    first = printed.document(sample(path))
    there = tmp_path / "resolved.yaml"
    there.write_text(yaml.safe_dump(first, sort_keys=False))
    again = sample(there)
    assert printed.document(again) == first
    if not again.later:
        one, other = configured.built(sample(path)), configured.built(again)
        assert (one.profiles, one.handler, one.admitters) == (other.profiles, other.handler, other.admitters)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mm-embeddings", "there is no field `cacheSizeInMB` (did you mean cacheSizeInMBPerServer?)"),
        ("discovery", "a kind is expected"),
    ],
)
def test_samples_that_do_not_start_upstream_say_why(name: str, said: str) -> None:
    """Each with its own message."""
    with pytest.raises(ConfigError) as caught:
        configured.decoded(sample(SAMPLES / "refused" / f"{name}.yaml").specs.values())
    assert said in str(caught.value)


def test_experimental_samples_need_the_flag() -> None:
    """Upstream's preset does not set it and does not start."""
    (document,) = documents.read([SAMPLES / "payload-agnostic.yaml"])
    with pytest.raises(ConfigError, match="`session-affinity-scorer` is experimental") as caught:
        resolve(document, allow_experimental=False)
    assert caught.value.hint == "start with --allow-experimental-plugins"
