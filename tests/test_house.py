"""The house itself: how far a request walks, how large a room may be, what may not be in the repository."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

import igw
from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.extproc.session import Session
from igw.request import Request

HOUSE = Path(igw.__file__).parent
ROOT = HOUSE.parent.parent

MOST_FUNCTIONS, MOST_FILES = 50, 26
"""What one request may pass through without queueing (docs/design.md). A comparable Go picker: 64 and 28."""


class Stream:
    """The gateway's side of one exchange, without gRPC."""

    def __init__(self, messages: list[pb.ProcessingRequest]) -> None:
        self._messages = iter(messages)
        self.replies: list[Any] = []

    async def read(self) -> Any:
        return next(self._messages, grpc.aio.EOF)

    async def write(self, message: Any) -> None:
        self.replies.append(message)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-igw-pool", "default/llama"), ("x-igw-mode", "lean"))


def chat() -> list[pb.ProcessingRequest]:
    """Return one chat request as a lean gateway sends it."""
    headers = pb.ProcessingRequest()
    for key, value in (
        (":path", "/v1/chat/completions"),
        (":method", "POST"),
        ("content-type", "application/json"),
    ):
        headers.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    headers.protocol_config.request_body_mode = 2  # BUFFERED
    body = b'{"model":"llama","messages":[{"role":"user","content":"' + b"word " * 200 + b'"}]}'
    return [headers, pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))]


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A pool of three endpoints."""
    path = tmp_path / "pool.yaml"
    endpoints = "\n".join(
        f"- {{name: e{n}, address: 10.0.0.{n}, port: 8000, labels: {{app: llama}}}}" for n in (1, 2, 3)
    )
    path.write_text(
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: llama}\nspec:\n"
        "  selector: {matchLabels: {app: llama}}\n  targetPorts: [{number: 8000}]\n"
        f"  endpointPickerRef: {{name: epp, port: {{number: 9002}}}}\n---\nendpoints:\n{endpoints}\n"
    )
    return path


async def test_a_request_passes_through_few_functions_and_files(manifests: Path) -> None:
    """Counted by the interpreter, for one chat request and one scorer, as the Go picker was counted by hand.

    Left out as there: what forwards (properties), what makes (constructors), and what measures or keeps what was done (`observed` wrappers, telemetry, explaining).
    """
    with manifests.open("a") as file:
        file.write(
            "---\napiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
            "plugins: [{type: prefix-cache-scorer}, {type: max-score-picker}]\n"
        )
    picker = Picker(PickerSettings(paths=(manifests,)))
    picker.use(load([manifests]))
    await picker.extproc.process(None, Stream(chat()))  # the first one fills caches of series
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(HOUSE)):
            entered.add(frame.f_code)

    stream = Stream(chat())
    sys.setprofile(note)
    try:
        await picker.extproc.process(None, stream)
    finally:
        sys.setprofile(None)
    assert len(stream.replies) == 2
    names = {
        f"{path.relative_to(HOUSE)}:{code.co_qualname}"
        for code in entered
        if (path := Path(code.co_filename)).stem != "observed"
        and path.parent.name not in {"telemetry", "explaining"}
        and code.co_name != "__init__"
        and not code.co_name.startswith("<")
        and code not in PROPERTIES
    }
    assert len({name.partition(":")[0] for name in names}) <= MOST_FILES, sorted(names)
    assert len(names) <= MOST_FUNCTIONS, sorted(names)


PROPERTIES = {
    value.fget.__code__
    for kind in (Decision, Endpoint, Pool, Request, Session)
    for value in vars(kind).values()
    if isinstance(value, property) and value.fget is not None
}


def modules() -> list[Path]:
    """Return every module of ours."""
    return sorted(HOUSE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_modules_say_what_belongs_in_them_and_stay_readable(path: Path) -> None:
    """A docstring first, at most 400 lines, no function over 80."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says in its first line what belongs in it"
    assert text.count("\n") <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 80, f"{node.name} is too long"


def test_no_room_is_called_by_a_word_that_says_nothing() -> None:
    """A helper lives where it is used."""
    banned = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc", "types"}
    assert not [path for path in modules() if banned & {path.stem, *path.relative_to(HOUSE).parts}]
