"""TLS between Envoy and the picker, with a certificate that has to be the right one."""

from __future__ import annotations

from pathlib import Path

from igw.extproc.certificates import Pair, self_signed
from igw.gateway.settings import GatewaySettings, PickerTls
from tests.e2e.harness import stack


def write(folder: Path, pair: Pair) -> None:
    """Put a certificate where the picker looks."""
    (folder / "tls.key").write_bytes(pair.key)
    (folder / "tls.crt").write_bytes(pair.chain)


async def test_envoy_asks_only_a_picker_whose_certificate_is_signed_by_whom_it_trusts(tmp_path: Path) -> None:
    """Told by a certificate that changes while both run: health checks make new connections, so it is found out before a request has to."""
    trusted, folder = tmp_path / "ca.crt", tmp_path / "secret"
    folder.mkdir()
    first = self_signed()
    trusted.write_bytes(first.chain)
    write(folder, first)
    async with stack(
        tmp_path,
        servers=1,
        failure_mode="FailClose",
        picker_flags=("--cert-path", str(folder)),
        settings=GatewaySettings(picker_tls=PickerTls(trusted)),
    ) as running:

        async def answered(status: int) -> bool:
            async with running.chat() as response:
                await response.read()
                return response.status == status

        assert await answered(200)
        write(folder, self_signed())
        await running.until(lambda: answered(503))
        write(folder, first)
        await running.until(lambda: answered(200))
        assert any("certificate_changed" in line for line in running.picker_log)
