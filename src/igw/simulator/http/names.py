"""The names a server answers to: its model's, and those of adapters loaded by the manifest or at run time.

What loading an adapter costs is the engine's business; the routes are in `models`.
"""

from __future__ import annotations

import msgspec

from igw.simulator.http.errors import ApiError


class LoraModule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An adapter that is served from the start, as one of vLLM's `--lora-modules`."""

    name: str
    path: str
    base_model_name: str | None = None


class Names:
    """Model and adapters by name; the first name of the model is the one answers and metrics carry."""

    def __init__(self, served: tuple[str, ...], adapters: tuple[LoraModule, ...] = ()) -> None:
        self.served = served
        self.adapters: dict[str, LoraModule] = {}
        self._lora_ids: dict[str, int] = {}
        self._loaded = 0
        for adapter in adapters:
            self._add(adapter)

    def adapter(self, name: str | None) -> str | None:
        """Return the adapter that *name* asks for, None for the model itself; ApiError 404 for an unknown name."""
        if name is None or name in self.served:
            return None
        if name in self.adapters:
            return name
        message = f"The model `{name}` does not exist. Valid aliases: {', '.join(self.served)}."
        raise ApiError(404, message, kind="NotFoundError", param="model")

    def load(self, name: str, path: str, *, in_place: bool = False) -> None:
        """Add an adapter; ApiError 400 for an empty name or path and for a name that is taken."""
        if not (name and path):
            message = "Both 'lora_name' and 'lora_path' must be provided."
            raise ApiError(400, message, kind="InvalidUserInput")
        if name in self.served or (name in self.adapters and not in_place):
            message = (
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True."
            )
            raise ApiError(400, message, kind="InvalidUserInput")
        self._add(LoraModule(name, path))

    def unload(self, name: str) -> None:
        """Remove an adapter; what runs with it goes on. ApiError 400 for an empty name, 404 for an unknown one."""
        if not name:
            message = "'lora_name' needs to be provided to unload a LoRA adapter."
            raise ApiError(400, message, kind="InvalidUserInput")
        if self.adapters.pop(name, None) is None:
            raise ApiError(404, f"The lora adapter '{name}' cannot be found.", kind="NotFoundError")
        del self._lora_ids[name]

    def lora_id(self, name: str | None) -> int | None:
        """Return the number of an adapter, counted from 1 as they were loaded; None for one that is not here."""
        return None if name is None else self._lora_ids.get(name)

    def _add(self, adapter: LoraModule) -> None:
        self.adapters[adapter.name] = adapter
        self._loaded += 1
        self._lora_ids[adapter.name] = self._loaded
