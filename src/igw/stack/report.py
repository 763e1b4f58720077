"""What a person at the terminal is told: what came up and where, what was refused, what a part had to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from igw.errors import ConfigError
from igw.stack.comparison import Measured, table

_SHOWN_SERVERS = 4
_SHOWN_TROUBLES = 5


class Report:
    """Progress goes to *out*, trouble to *err*; both are plain lines where there is no terminal."""

    def __init__(self, out: Console, err: Console) -> None:
        """Print to these two."""
        self._out = out
        self._err = err

    def servers_up(self, models: Mapping[str, int], endpoints: Sequence[Mapping[str, str]]) -> None:
        """Say how many there are of each of *models*, and where the model servers are, the first few of them."""
        shown = [f"{endpoint['address']}:{endpoint['port']}" for endpoint in endpoints[:_SHOWN_SERVERS]]
        of_each = ", ".join(f"{count} × {model}" for model, count in models.items())
        more = f" and {len(endpoints) - _SHOWN_SERVERS} more" if len(endpoints) > _SHOWN_SERVERS else ""
        self._up("model servers", f"{of_each} at {' '.join(shown)}{more}")

    def picker_up(self, said: Mapping[str, str]) -> None:
        """Say where the picker is."""
        self._up(
            "endpoint picker",
            f"gRPC {said['grpc']}, health {said['health']}, metrics http://{said['metrics']}/metrics",
        )
        self._up("dashboard", f"http://{said['dashboard']}")

    def envoy_up(self, listeners: Mapping[str, str], admin: str) -> None:
        """Say where clients connect."""
        for name, address in listeners.items():
            self._up("Envoy", f"listener {name} at http://{address}")
        self._up("Envoy", f"admin http://{admin}")

    def ready(self, address: str, model: str) -> None:
        """Say what to try first."""
        self._print("\nTry it:\n")
        if model:
            body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
            self._print(
                f"  curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
            )
        else:
            self._print(f"  curl http://{address}/v1/models")
        self._print("\nCtrl-C stops everything.")

    def heading(self, text: str) -> None:
        """Say what comes next."""
        self._print(f"\n{text}")

    def compared(self, runs: Sequence[Measured]) -> None:
        """Print the table of *runs*, and what went wrong."""
        self._out.print()
        self._out.print(table(runs))
        for run in runs:
            for trouble in [*run.errors, *run.wrong][:_SHOWN_TROUBLES]:
                self.warn(f"{run.title}: {trouble}")
        if all(run.passed for run in runs):
            self._print("every answer is right and no reservation is left over")

    def relay(self, name: str) -> Callable[[str], None]:
        """Return what prints a line of the part *name*."""
        return lambda line: self._err.print(
            f"[dim]{name} |[/] {escape(line)}", soft_wrap=True, highlight=False
        )

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)

    def refused(self, error: ConfigError) -> None:
        """Say which edit was not taken, and why."""
        self.warn(f"an edit was not taken, what was in force stays: {error}")

    def adopted(self) -> None:
        """Say that an edit was taken."""
        self._print("✔ the edited files are in force")

    def _up(self, name: str, where: str) -> None:
        self._out.print(f"[green]✔[/] {name:<17}{escape(where)}", soft_wrap=True, highlight=False)

    def _print(self, text: str) -> None:
        self._out.print(text, soft_wrap=True, highlight=False, markup=False)
