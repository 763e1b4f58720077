"""Tokens made in the picker itself, by the files that come with a model: its tokenizer and its chat template, in threads.

Files of other tokenizers than Hugging Face's (`tokenizer.json`) are not read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import structlog
from tokenizers import Tokenizer

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.prefix.chain import Prompt
from igw.prefix.tokens import prompt_of
from igw.request import Request
from igw.scheduling.producers.token import LocalTokenizers
from igw.tokenizing import conversations
from igw.tokenizing.encoding import Encoder
from igw.tokenizing.templates import ChatTemplate

log = structlog.get_logger("tokenizing")

_MOST_WAITING = 16
"""Requests per thread; those beyond go without tokens."""
_MOST_TEXT_BYTES = 16 << 20
_WHERE = "token-producer: local"
_NOT_UNDERSTOOD = (
    ValueError,
    msgspec.DecodeError,
    OverflowError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)
"""What bodies may raise that an engine would refuse."""


class Model:
    """Tokenizer and chat template of one model. May be used from any thread.

    Raises:
        ConfigError: the files are not there, or not what they should be.
    """

    def __init__(self, file: Path, most_bytes: int) -> None:
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more special
            raise ConfigError(
                _WHERE, f"{file} is no tokenizer: {error}", "name a model's folder, or its tokenizer.json"
            ) from error
        self.encoder = Encoder(tokenizer, most_bytes)
        config = _json(file.with_name("tokenizer_config.json"))
        try:
            self._templates = {
                name: ChatTemplate(source, _special_tokens(config))
                for name, source in _sources(file.parent, config).items()
            }
        except ValueError as error:
            raise ConfigError(f"{_WHERE}: {file.parent}", str(error)) from error

    def tokens(self, request: Request) -> bytes | None:
        """Return the tokens of the prompt of *request*; None for one that has no template here, or more than texts.

        Raises:
            ValueError: it cannot be understood.
        """
        if request.api == "completions":
            asked = conversations.completion(request.body)
            prompt = asked.prompt if isinstance(asked.prompt, str) else (asked.prompt or [""])[0]
            return self.encoder.tokens(prompt, add_special_tokens=asked.add_special_tokens)
        chat = conversations.chat(request.body)
        if chat.chat_template is not None or chat.continue_final_message:
            return None
        template = self._template(chat)
        if template is None:
            return None
        text = template.render(
            conversations.messages_of(chat, in_parts=template.takes_parts),
            tools=conversations.tools_of(chat),
            documents=chat.documents,
            add_generation_prompt=chat.add_generation_prompt,
            more=conversations.kwargs_of(chat),
        )
        return self.encoder.tokens(text, add_special_tokens=chat.add_special_tokens)

    def _template(self, chat: conversations.Chat) -> ChatTemplate | None:
        wanted = ("tool_use", "default") if chat.tools else ("default",)
        return next((self._templates[name] for name in wanted if name in self._templates), None)


class LocalModels:
    """The models of one producer, and the threads in which their tokens are made. Owner of those: `close` ends them."""

    def __init__(self, settings: LocalTokenizers, default: str) -> None:
        """Load all of them.

        Raises:
            ConfigError: one cannot be used, or there is none.
        """
        files = {name: _file(path, settings) for name, path in settings.model_tokenizer_map.items()}
        if settings.auto_discovery_dir:
            files = _found(Path(settings.auto_discovery_dir), settings) | files
        if not files:
            raise ConfigError(
                _WHERE, "it names no model", "write modelTokenizerMap: {MODEL: FOLDER}, or autoDiscoveryDir"
            )
        if default and default not in files:
            raise ConfigError(
                _WHERE, f"modelName {default!r} has no tokenizer", f"there are {', '.join(sorted(files))}"
            )
        self._models = {name: Model(file, settings.cache_size) for name, file in files.items()}
        # Adapters have names of their own, and the tokenizer of their base model.
        self._other = self._models.get(default) or (
            next(iter(self._models.values())) if len(self._models) == 1 else None
        )
        self._threads = ThreadPoolExecutor(settings.workers_count, "tokenizer")
        self._open, self._most_open = 0, _MOST_WAITING * settings.workers_count
        self._refused = False

    async def tokens(self, request: Request, _endpoints: tuple[Endpoint, ...] = ()) -> Prompt | None:
        """Return the prompt of *request* in tokens; None where they cannot be made. Who gives up waiting loses nothing of the work."""
        model = self._models.get(request.served_model, self._other)
        readable = request.api in ("chat/completions", "completions") and not request.media
        if model is None or not readable or not 0 < len(request.body) <= _MOST_TEXT_BYTES:
            return None
        if self._open >= self._most_open:
            return None
        self._open += 1
        # Not the coroutine's end but the thread's: a request that gave up still occupies one.
        work = self._threads.submit(model.tokens, request)
        loop = asyncio.get_running_loop()
        work.add_done_callback(lambda _: _soon(loop, self._ended))
        try:
            tokens = await asyncio.wrap_future(work)
        except _NOT_UNDERSTOOD as error:
            if not self._refused:
                self._refused = True
                log.info("prompt_not_tokenized", reason=type(error).__name__, further="not logged")
            return None
        return prompt_of(request, tokens) if tokens else None

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self) -> None:
        self._open -= 1


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody counts any more
        loop.call_soon_threadsafe(call)


def _file(path: str, settings: LocalTokenizers) -> Path:
    file = Path(path) / settings.auto_discovery_tokenizer_file_name if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ConfigError(
            f"{_WHERE}.modelTokenizerMap",
            f"there is no {file}",
            "name a model's folder, or its tokenizer.json",
        )
    return file


def _found(folder: Path, settings: LocalTokenizers) -> dict[str, Path]:
    if not folder.is_dir():
        raise ConfigError(f"{_WHERE}.autoDiscoveryDir", f"there is no folder {folder}")
    files = sorted(folder.rglob(settings.auto_discovery_tokenizer_file_name))
    return {_name(file.parent.relative_to(folder)): file for file in files if file.parent != folder}


def _name(folder: Path) -> str:
    """Return the model's name: `models--OWNER--NAME/snapshots/REVISION` is Hugging Face's cache of `OWNER/NAME`."""
    cached = next((part for part in folder.parts if part.startswith("models--")), None)
    return "/".join(cached.split("--")[1:]) if cached is not None else folder.as_posix()


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{_WHERE}: {file}", f"cannot be read: {error}") from error


def _sources(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the templates of a model by name: a file's before those of its configuration."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        return {"default": file.read_text("utf-8"), **{each.stem: each.read_text("utf-8") for each in more}}
    written = config.get("chat_template")
    if isinstance(written, list):
        return {str(each["name"]): str(each["template"]) for each in written}
    return {"default": written} if isinstance(written, str) else {}


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what templates call special tokens by (`bos_token`), each a text or an object with its content."""
    found = {}
    for name, written in config.items():
        content = written.get("content") if isinstance(written, Mapping) else written
        if name.endswith("_token") and isinstance(content, str):
            found[name] = content
    return found
