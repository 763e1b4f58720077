"""The plugins of the body-based router in their order: one body in, what changes in all out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from igw.config.adapters import AdapterMap
from igw.parsing.api import Body
from igw.payload.api import Changes, Message, Plugin
from igw.payload.fields import FieldReader
from igw.request import Head


class Chain:
    """Some plugins, one after the other; the last writer of a header or field wins, and each sees what the ones before it wrote."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)
        self._reader = FieldReader(name for plugin in plugins for name in plugin.reads)
        self.unsaid: Mapping[str, str | None] = {name: None for plugin in plugins for name in plugin.writes}
        """What becomes of the headers of a request that says nothing: a client must not speak for the plugins."""

    def run(self, head: Head, body: Body, base_models: Mapping[str, str]) -> Changes:
        """Return what all plugins change.

        Raises:
            Rejected: the body cannot be read, or a plugin refuses the request.
        """
        headers, fields = dict(self.unsaid), dict(self._reader.read(head, body))
        message = Message(head, fields, headers, base_models)
        changed: dict[str, bytes | None] = {}
        not_found: tuple[str, ...] = ()
        empty: tuple[str, ...] = ()
        for plugin in self._plugins:
            changes = plugin.process(message)
            headers.update(changes.headers)
            if changes.fields:
                changed.update(changes.fields)
                for name, text in changes.fields.items():
                    if text is None:
                        fields.pop(name, None)
                    else:
                        fields[name] = text
            not_found += changes.not_found
            empty += changes.empty
        return Changes(headers, changed, not_found, empty)


def base_models(maps: Sequence[AdapterMap]) -> dict[str, str]:
    """Return what `Message.base_models` says; a base model stands for itself."""
    found = {each.base_model: each.base_model for each in maps}
    for each in maps:
        for adapter in each.adapters:
            found.setdefault(adapter, each.base_model)
    return found
