"""One request as picker and server see it."""

from __future__ import annotations

from igw.lab.asked import Asked
from igw.lab.workload import Session
from igw.prefix.hashing import block_hashes
from tests.lab.small import BLOCK, turn


def asked(session: Session, number: int = 0) -> Asked:
    return Asked(session, session.turns[number], BLOCK, "7")


def test_the_picker_sees_a_prompt_of_four_bytes_a_token() -> None:
    """So that the product's own estimate is right."""
    session = Session("s", (turn(1000, 10),), tenant="t")
    request = asked(session).request("m", "default/lab")
    assert request.prompt_tokens == 1000
    assert sum(part.nbytes for part in request.prompt) == request.prompt_bytes == 4000
    assert request.head.headers["x-session-id"] == "s"
    assert (request.model, request.fairness_id, request.stream) == ("m", "t", True)


def test_the_server_sees_one_name_per_full_block() -> None:
    """Of prompt and output together, in the engine's own block size."""
    session = Session("s", (turn(1000, 100),), priority=3)
    sequence = asked(session).sequence(16)
    assert len(sequence.block_hashes) == 1100 // 16
    assert (sequence.id, sequence.prompt_tokens, sequence.output_tokens) == ("7", 1000, 100)
    assert sequence.priority == -3  # vLLM's order is the other way round


def test_shared_blocks_are_shared_for_both() -> None:
    """Two prompts that begin alike do so up to the same token."""
    alike = Session("s", (turn(1024, 1, shared=(0, 8)), turn(1024, 1, shared=(0, 8))))
    here, there = asked(alike), asked(alike, 1)
    names = [set(each.sequence(16).block_hashes) for each in (here, there)]
    assert len(names[0] & names[1]) == 512 // 16
    hashes = [block_hashes(b"", each.request("m", "p").prompt) for each in (here, there)]
    assert [a == b for a, b in zip(*hashes, strict=True)] == [True] * 8 + [False] * 8


def test_another_adapter_shares_nothing() -> None:
    """Its keys and values are others, and the picker asks for another model."""
    wanted = turn(1024, 1)
    plain, adapted = Session("s", (wanted,)), Session("s", (wanted,), adapter="sql")
    names = [set(asked(each).sequence(16).block_hashes) for each in (plain, adapted)]
    assert not names[0] & names[1]
    requests = [asked(each).request("m", "p") for each in (plain, adapted)]
    assert [request.model for request in requests] == ["m", "sql"]
    assert requests[0].seed != requests[1].seed
    assert asked(adapted).sequence(16).adapter == "sql"
