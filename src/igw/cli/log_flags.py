"""Flags on logs, ours and those of upstream's picker for the same. What is logged is `igw.telemetry.log`'s business."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from igw.cli.groups import Group
from igw.errors import ConfigError
from igw.telemetry import log

_FORMS = get_args(log.Form)
_DEBUG = 4
"""From this of upstream's verbosities on its picker tells what is for those who debug it."""


class Logs(Group, frozen=True):
    """Logs."""

    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error; PUT /debug/log-level changes it.")
    ] = "info"
    log_format: Annotated[str, typer.Option(help="console or json.")] = "console"
    verbosity: Annotated[
        str, typer.Option("-v", "--v", help="As upstream's: 4 and more is debug.", metavar="0...5")
    ] = ""
    zap_log_level: Annotated[
        str, typer.Option(help="As upstream's: debug, info, error, panic or a number.", hidden=True)
    ] = ""
    zap_encoder: Annotated[str, typer.Option(help="As upstream's: console or json.", hidden=True)] = ""

    def configure(self) -> None:
        """Log from now on as was said; of several levels that one counts that says most.

        Raises:
            ConfigError: there is no such level or form.
        """
        asked = [_level("--log-level", self.log_level)]
        asked += [_numbered("-v", self.verbosity.removeprefix("="))] if self.verbosity else []
        asked += [_zap(self.zap_log_level)] if self.zap_log_level else []
        if asked[1:] and self.log_level == "info":
            del asked[0]
        form = _form("--log-format", self.log_format)
        if self.zap_encoder:
            form = _form("--zap-encoder", self.zap_encoder)
        log.configure(min(asked, key=log.LEVELS.index), form)


def _level(flag: str, name: str) -> str:
    if name not in log.LEVELS:
        raise ConfigError(flag, f"there is no level `{name}`", ", ".join(log.LEVELS))
    return name


def _form(flag: str, name: str) -> log.Form:
    if name == "json":
        return "json"
    if name == "console":
        return "console"
    raise ConfigError(flag, f"there is no form `{name}`", ", ".join(_FORMS))


def _zap(name: str) -> str:
    if name.isdecimal():  # of zap: each is more than debug
        return "debug" if int(name) else "info"
    return _level("--zap-log-level", {"panic": "error"}.get(name, name))


def _numbered(flag: str, number: str) -> str:
    if not number.isdecimal():
        raise ConfigError(flag, f"`{number}` is no number", "0 to 5")
    return "debug" if int(number) >= _DEBUG else "info"
