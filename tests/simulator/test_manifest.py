"""Simulator objects: what is read from YAML and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.simulator.http.names import LoraModule
from igw.simulator.manifest import Hardware, SimulatorSpec, read

HEAD = "apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {name: sim}\n"


def write(folder: Path, text: str, name: str = "objects.yaml") -> Path:
    """A file with this text."""
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_may_hold_several_objects_and_others_are_skipped(tmp_path: Path) -> None:
    """Every field, in camelCase."""
    path = write(
        tmp_path,
        HEAD
        + """spec:
  model: demo
  replicas: 2
  hardware: {calibration: qwen3-32b, tensorParallel: 2}
  firstPort: 8000
  labels: {app: demo}
  speed: 2
  maxNumSeqs: 8
  maxNumBatchedTokens: 512
  blockSize: 64
  numGpuBlocks: 100
  maxModelLen: 4096
---
kind: InferencePool
spec: {anything: goes}
---
apiVersion: igw.dev/v1alpha1
kind: Simulator
metadata: {name: other, namespace: apart, labels: {a: b}, annotations: {ignored: "yes"}}
spec: {model: plain}
""",
    )
    first, second = read([path])
    assert first.spec == SimulatorSpec(
        model="demo",
        replicas=2,
        hardware=Hardware("qwen3-32b", 2),
        first_port=8000,
        labels={"app": "demo"},
        speed=2,
        max_num_seqs=8,
        max_num_batched_tokens=512,
        block_size=64,
        num_gpu_blocks=100,
        max_model_len=4096,
    )
    assert first.title == "Simulator default/sim"
    assert second.title == "Simulator apart/other"


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """YAML and JSON files, nothing else."""
    write(tmp_path, HEAD.replace("sim}", "two}") + "spec: {model: m}", "b.yml")
    write(
        tmp_path,
        '{"apiVersion": "igw.dev/v1alpha1", "kind": "Simulator", "metadata": {"name": "one"}, "spec": {"model": "m"}}',
        "a.json",
    )
    write(tmp_path, "not: [yaml", "notes.txt")
    assert [each.metadata.name for each in read([tmp_path])] == ["one", "two"]


def test_kv_blocks_default_to_what_fits_beside_the_weights() -> None:
    """436,782 tokens for Llama 3.1 8B on one H100."""
    server = SimulatorSpec(model="m").server()
    assert server.engine.num_gpu_blocks == 436_782 // 16
    assert (server.model, server.speed) == ("m", 1.0)


def test_what_the_http_face_is_to_be_like_reaches_the_server() -> None:
    """Under the words of the server."""
    server = SimulatorSpec(
        model="m",
        served_model_name=["a", "b"],
        lora_modules=[LoraModule("l", "p")],
        max_loras=3,
        scheduling_policy="priority",
        enable_prefix_caching=False,
        api_key=["k"],
        loading_seconds=2.0,
        shutdown_timeout=3.0,
    ).server()
    assert (server.names, server.lora_modules, server.api_keys) == (
        ("a", "b"),
        (LoraModule("l", "p"),),
        ("k",),
    )
    assert (server.loading_seconds, server.shutdown_seconds) == (2.0, 3.0)
    engine = server.engine
    assert (engine.max_loras, engine.scheduling_policy, engine.enable_prefix_caching) == (
        3,
        "priority",
        False,
    )


def test_cpu_memory_is_given_in_gibibytes_and_loaded_over_the_links_of_all_gpus() -> None:
    """A block of 16 tokens of Llama 3.1 8B has 2 MiB."""
    one = SimulatorSpec(model="m", kv_offloading_size=4, kv_offloading_bandwidth=2**31).server().engine
    assert (one.cpu_blocks, one.cpu_load_seconds_per_block) == (2048, 2**21 / 2**31)
    assert SimulatorSpec(model="m").server().engine.cpu_blocks == 0
    qwen = [
        SimulatorSpec(model="m", hardware=Hardware("qwen3-32b", tp), num_gpu_blocks=100).server().engine
        for tp in (1, 2)
    ]
    assert qwen[0].cpu_load_seconds_per_block == 2 * qwen[1].cpu_load_seconds_per_block


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "spec: {model: m, replica: 3}", "contains unknown field `replica` - at `$.spec`"),
        (HEAD + "spec: {}", "missing required field `model` - at `$.spec`"),
        (HEAD + "spec: {model: m, replicas: 0}", "`int` >= 1 - at `$.spec.replicas`"),
        (HEAD + "spec: {model: m, speed: 0}", "`float` > 0.0 - at `$.spec.speed`"),
        (
            HEAD + "spec: {model: m, schedulingPolicy: lifo}",
            "Invalid enum value 'lifo' - at `$.spec.schedulingPolicy`",
        ),
        (
            HEAD + "spec: {model: m, loraModules: [{name: a}]}",
            "missing required field `path` - at `$.spec.loraModules[0]`",
        ),
        (HEAD + "spec: {model: m, hardware: {calibration: gpt-2}}", "no calibration for 'gpt-2'"),
        (HEAD + "spec: {model: m, hardware: {accelerator: H20}}", "no accelerator 'H20'; did you mean H200?"),
        (
            HEAD + "spec: {model: m, faults: [{at_seconds: 1}]}",
            "either faults or restart - at `$.spec.faults[0]`",
        ),
        (HEAD + "spec: {model: m, maxNumBatchedTokens: 2}", r"max_num_batched_tokens (2) must be at least"),
        (
            HEAD.replace("v1alpha1", "v2"),
            "'igw.dev/v2' of kind Simulator is not known (write igw.dev/v1alpha1)",
        ),
        ("a: [", "not YAML"),
        (
            f"{HEAD}spec: {{model: m}}\n---\n{HEAD}spec: {{model: m}}",
            "document 2: Simulator default/sim is defined twice",
        ),
    ],
)
def test_a_bad_object_is_named_with_file_path_and_problem(tmp_path: Path, text: str, words: str) -> None:
    """One sentence."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read([path])
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Not an empty list."""
    with pytest.raises(ConfigError, match="no such file or directory"):
        read([tmp_path / "none.yaml"])
