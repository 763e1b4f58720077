"""`base-model-to-header`: the base model of the body's `model`, as the adapter maps say."""

from __future__ import annotations

import msgspec

from igw.payload.api import Changes, Message, Plugin

HEADER = "x-gateway-base-model-name"


class BaseModelToHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sets nothing for a model that no map knows (upstream sets an empty header, which a match on its presence takes)."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The model."""
        return ("model",)

    @property
    def writes(self) -> tuple[str, ...]:
        """The header."""
        return (HEADER,)

    def process(self, message: Message, /) -> Changes:
        """Return the header of a model that is known."""
        model = message.text("model")
        if model is None:
            return Changes(not_found=("model",))
        base = message.base_models.get(model.strip())
        return Changes() if base is None else Changes(headers={HEADER: base})


_: type[Plugin] = BaseModelToHeader
