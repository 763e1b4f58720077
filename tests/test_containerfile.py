"""The image: no test can build it, so what can be known without is: all that it copies is there, its lock is complete, it starts what there is."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Containerfile").read_text().splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("redis", "tokenizers")
"""Those that are in the image."""


def said(instruction: str) -> list[str]:
    """Return what follows each *instruction*."""
    return [rest for word, rest in INSTRUCTIONS if word == instruction]


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the version and hashes of every package in a lock; of several versions of one package the first, ours."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text().strip()):
        package, version = re.match(r"(\S+)==(\S+)", entry).groups()  # type: ignore[union-attr]
        found.setdefault(package, (version, frozenset(re.findall("sha256:[0-9a-f]+", entry))))
    return found


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    """From the repository; what one stage copies from another was put there."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest.split()[:-1] for rest in said("COPY") if not rest.startswith("--from")]
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, each) for each in allowed), path
    assert allowed == {path for paths in copied for path in paths}
    assert [rest for rest in said("COPY") if rest.startswith("--from")] == ["--from=build /igw /igw"]
    assert any("venv" in rest and rest.endswith("/igw") for rest in said("RUN"))


def test_it_does_not_run_as_root_and_as_the_user_that_the_chart_says() -> None:
    """By number, since a cluster cannot look a name up."""
    (user,) = said("USER")
    spec = [
        each
        for each in yaml.safe_load_all((ROOT / "src/igw/kubernetes/install/bbr.yaml").read_text())
        if each
    ]
    (pod,) = (each["spec"]["template"]["spec"] for each in spec if each["kind"] == "Deployment")
    context = pod["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsUser"] > 0


def test_it_starts_a_command_that_the_package_installs() -> None:
    """With the container's arguments after it."""
    assert said("ENTRYPOINT") == ['["igw"]']
    assert "igw" in PROJECT["scripts"]


def test_nothing_is_installed_but_by_hash_and_without_a_cache() -> None:
    """The package itself comes from the files beside it."""
    installs = [
        part
        for rest in said("RUN")
        for part in rest.split(" && ")
        if re.search(r"\bpip\b.*\binstall\b", part)
    ]
    assert len(installs) == 4
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    assert "PIP_NO_CACHE_DIR=1" in said("ENV")[0]


def test_what_is_installed_by_itself_is_found_in_the_lock() -> None:
    """The commands are those of the file."""
    for package in ("setuptools", "opentelemetry-proto"):
        (line,) = (rest for rest in said("RUN") if rest.startswith(f"awk '/^{package}=="))
        command = line.partition(" > ")[0]
        printed = subprocess.run(
            ["bash", "-c", command], check=True, cwd=ROOT, capture_output=True, text=True
        ).stdout
        assert printed.startswith(f"{package}==")
        assert printed.count("==") == 1
        assert printed.rstrip().splitlines()[-1].startswith("    --hash=sha256:")


def test_the_lock_of_the_image_is_a_part_of_the_lock() -> None:
    """Versions and hashes are those that everything else is tested with."""
    whole = locked("requirements.lock")
    assert {name: each for name, each in locked("image.lock").items() if whole.get(name) != each} == {}


def test_the_lock_of_the_image_is_complete() -> None:
    """All that the package needs, and what that needs."""
    known, seen = set(locked("image.lock")), set[tuple[str, str]]()
    waiting = [Requirement(each) for each in PROJECT["dependencies"]]
    waiting += [Requirement(each) for extra in EXTRAS for each in PROJECT["optional-dependencies"][extra]]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        assert name in known, f"{needed} is not in image.lock: run `make lock`"
        for extra in {"", *needed.extras} - {extra for seen_name, extra in seen if seen_name == name}:
            seen.add((name, extra))
            waiting += [
                each
                for each in requirements(name)
                if each.marker is None or each.marker.evaluate({"extra": extra})
            ]


def requirements(name: str) -> list[Requirement]:
    """Return what an installed package needs."""
    try:
        return [Requirement(each) for each in distribution(name).requires or ()]
    except PackageNotFoundError:
        pytest.fail(f"{name} is locked and not installed here")
