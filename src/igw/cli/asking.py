"""Asking a picker over HTTP for a page of its metrics port, for commands that show what it says. What it says is theirs."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, NoReturn

import typer

_SECONDS = 5.0

Url = Annotated[str, typer.Option(help="Metrics port of the picker.")]
TokenFile = Annotated[Path | None, typer.Option(help="A bearer token to show it, where it asks for one.")]
DEFAULT_URL = "http://127.0.0.1:9090"


def asked(command: str, url: str, token_file: Path | None) -> bytes:
    """Return what the picker says; end `igw` *command* with a sentence if it says no."""
    try:
        with opened(command, url, token_file) as answer:
            return bytes(answer.read())
    except OSError as error:
        _nobody(command, url, error)


def opened(command: str, url: str, token_file: Path | None) -> http.client.HTTPResponse:
    """Return the answer that the picker begins, to be read and closed; end *command* likewise."""
    if not url.startswith(("http://", "https://")):
        sys.exit(f"igw {command}: --url {url} is no URL, such as {DEFAULT_URL}")
    try:
        token = {} if token_file is None else {"authorization": f"Bearer {token_file.read_text().strip()}"}
    except OSError as error:
        sys.exit(f"igw {command}: --token-file {token_file} cannot be read: {error.strerror}")
    try:
        request = urllib.request.Request(url, headers=token)  # noqa: S310 (checked above)
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 (checked above)
    except urllib.error.HTTPError as error:
        with error:
            sys.exit(f"igw {command}: {_told(error.read()) or f'{url} answers {error.code}'}")
    except (OSError, ValueError) as error:
        _nobody(command, url, error)
    return answer


def _nobody(command: str, url: str, error: Exception) -> NoReturn:
    reason = getattr(error, "reason", error)
    sys.exit(f"igw {command}: no picker answers at {url}: {reason}; --url names its metrics port")


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
