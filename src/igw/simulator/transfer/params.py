"""`kv_transfer_params`: what a sidecar says with a request, and what a prefill server says with its answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class KvTransferParams(msgspec.Struct, frozen=True):
    """vLLM's NIXL parameters; fields that are not named here are ignored, as there.

    `do_remote_decode` asks to compute the prompt and to hold it for another server. `do_remote_prefill` asks to fetch
    it from `remote_host`:`remote_port`, where it is called `remote_request_id` and takes `remote_block_ids`: numbers,
    or lists of them, one per group of layers.
    """

    do_remote_decode: bool | None = None
    do_remote_prefill: bool | None = None
    remote_engine_id: str | None = None
    remote_block_ids: list[int | list[int]] | None = None
    remote_host: str | None = None
    remote_port: int | None = None
    remote_request_id: str | None = None
    remote_num_tokens: int | None = None
    tp_size: int | None = None

    @property
    def missing(self) -> list[str]:
        """The fields without which nothing can be fetched and that are not there."""
        names = ("remote_engine_id", "remote_block_ids", "remote_host", "remote_port", "remote_request_id")
        return [name for name in names if getattr(self, name) is None]


def flat(block_ids: Sequence[int | list[int]]) -> tuple[int, ...]:
    """Return block ids without the lists they may be in."""
    return tuple(each for group in block_ids for each in (group if isinstance(group, list) else [group]))
