"""Takes part in the election of a leader: reads and writes the Lease. Who leads when is `leases`' business."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2
import structlog

from igw.kubernetes.client import Refused, ask, permission
from igw.kubernetes.kinds import LEASES
from igw.kubernetes.leases import Election, Lease, body, read

log = structlog.get_logger("kubernetes")

_RELEASE_SECONDS = 2.0
"""How long a release may take: who stops is waited for, and the Lease ends by itself."""


def wall() -> str:
    """Return the time as Kubernetes writes it where microseconds count."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Elector:
    """Wants the Lease *name* of *namespace*; calls *turned* when it begins or ends to lead."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        name: str,
        namespace: str,
        election: Election,
        turned: Callable[[], None],
    ) -> None:
        self._http = http
        self._name, self._namespace = name, namespace
        self._election = election
        self._turned = turned
        self._led = False
        self._trouble: int | None = None

    def leads(self) -> bool:
        """Return whether this replica leads now."""
        return self._election.leads(time.monotonic())

    async def run(self) -> None:
        """Take part until cancelled, then give the Lease back."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._election.timing.renew_seconds / 2):
                        await self._turn()
                self._tell()
                await asyncio.sleep(self._election.wait_seconds(time.monotonic()))
        finally:
            await self._release()

    async def _turn(self) -> None:
        election = self._election
        try:
            if election.must_read:
                election.saw(await self._read(), time.monotonic())
            asked = time.monotonic()
            if (bid := election.bid(asked, wall())) is not None:
                election.won(await self._write(bid), asked)
        except Refused as refused:
            self._say(refused)
        else:
            self._trouble = None

    async def _read(self) -> Lease:
        try:
            return read(await ask(self._http, "GET", self._path))
        except Refused as refused:
            if refused.failure.status != httpx2.codes.NOT_FOUND:
                raise
            return Lease()

    async def _write(self, lease: Lease) -> Lease:
        said = body(lease, self._name, self._namespace)
        if lease.version:
            return read(await ask(self._http, "PUT", self._path, said))
        return read(await ask(self._http, "POST", LEASES.path(self._namespace), said))

    async def _release(self) -> None:
        lease = self._election.release(time.monotonic(), wall())
        self._tell()
        if lease is None:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._write(lease)
        except (Refused, TimeoutError) as error:
            log.info("lease_not_released", lease=self._name, problem=str(error), hint="it ends by itself")

    def _tell(self) -> None:
        leads = self.leads()
        if leads != self._led:
            self._led = leads
            log.info("leading" if leads else "not_leading", lease=self._name, holder=self._election.holder)
            self._turned()

    def _say(self, refused: Refused) -> None:
        """Say once what is wrong; that another replica was faster is not."""
        status = refused.failure.status
        if status in (self._trouble, httpx2.codes.CONFLICT):
            return
        self._trouble = status
        hint = "it is tried again"
        if status == httpx2.codes.FORBIDDEN:
            hint = permission("verbs get, create and update", LEASES.plural, LEASES.group)
        log.warning(
            "lease_not_held", lease=self._name, status=status, problem=refused.failure.message, hint=hint
        )

    @property
    def _path(self) -> str:
        return f"{LEASES.path(self._namespace)}/{self._name}"
