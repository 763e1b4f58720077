"""OpenAI's APIs that take files, as multipart/form-data: edits and variations of images, transcriptions and translations of sound.

What a form is made of is read in `multipart`; their kin without files is in `generating`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from igw.errors import BadRequest
from igw.parsing import audio, generating, pictures
from igw.parsing.api import Api, Body, Found
from igw.parsing.json_body import decoded, model_name, need
from igw.parsing.media import DEFAULT_PIXELS, PIXELS_PER_TOKEN
from igw.parsing.multipart import ArrivingForm, FormLimits, FormReader, Part, boundary
from igw.parsing.picture_size import LOOK_BYTES, pixels
from igw.request import Generation, Head, Media


class Form(msgspec.Struct, frozen=True):
    """One form that was read: its parts, and the body that they are slices of."""

    body: memoryview
    parts: list[Part]
    api: str

    def field(self, name: str) -> Part | None:
        """Return the field of that name; of several the last one, as model servers take it."""
        return next((part for part in reversed(self.parts) if part.name == name and not part.is_file), None)

    def files(self, name: str) -> list[Part]:
        """Return the files of that name, or of a list of that name (`image[]`)."""
        return [part for part in self.parts if part.is_file and part.name in (name, f"{name}[]")]

    def content(self, part: Part) -> memoryview:
        """Return the slice of the body that is the content of *part*."""
        return self.body[part.start : part.end]

    def text(self, name: str) -> str:
        """Return a field as text; empty if it is not there.

        Raises:
            BadRequest: it is not UTF-8.
        """
        part = self.field(name)
        try:
            return str(self.content(part), "utf-8") if part is not None else ""
        except UnicodeDecodeError:
            raise BadRequest(f"`{name}` in the form of {self.api} is not UTF-8") from None

    def number(self, name: str) -> int | None:
        """Return a field as a whole number from 1; None if it is not there or empty.

        Raises:
            BadRequest: it is something else.
        """
        said = self.text(name).strip()
        if not said:
            return None
        if not (said.isascii() and said.isdigit() and len(said) <= 9 and int(said)):
            raise BadRequest(f"`{name}` in the form of {self.api} is not a whole number from 1")
        return int(said)

    def flag(self, name: str) -> bool:
        """Return a field as a truth value; False if it is not there.

        Raises:
            BadRequest: it is neither true nor false.
        """
        said = self.text(name).strip().lower()
        if said not in _FLAGS:
            raise BadRequest(f"`{name}` in the form of {self.api} is neither true nor false")
        return _FLAGS[said]


_FLAGS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off", ""), False
)


def read_form(head: Head, body: Body, api: str, limits: FormLimits) -> Form:
    """Return the form in *body*.

    Raises:
        BadRequest: there is none, it is broken, or over *limits*.
    """
    content_type = head.headers.get("content-type", "")
    cut_by = boundary(content_type)
    if cut_by is None:
        raise BadRequest(
            f"{api} needs a body of multipart/form-data, not {content_type[:100] or 'of no type'}"
        )
    if isinstance(body, ArrivingForm) and body.limits == limits:
        return Form(memoryview(body), body.parts(), api)
    reader = FormReader(cut_by, limits)
    reader.feed(body)
    return Form(memoryview(body), reader.parts(), api)


def apis(limits: FormLimits = FormLimits()) -> tuple[Api, ...]:  # noqa: B008 (immutable)
    """Return the APIs, whose forms may be as large as *limits* say."""

    def made(suffix: str, read: Callable[[Form], Found], json: Callable[[Body], Found] | None = None) -> Api:
        def whole(head: Head, body: Body) -> Found:
            if json is not None and _is_json(head):
                return json(body)
            return read(read_form(head, body, suffix, limits))

        return Api(suffix, whole)

    return (
        made("audio/transcriptions", _transcript),
        made("audio/translations", _transcript),
        made("images/edits", _edit, _edit_in_json),
        made("images/variations", _variation),
    )


def _is_json(head: Head) -> bool:
    return head.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _found(form: Form, **more: Any) -> Found:
    """Return what all forms say: the model, once, because of two the engine might take the other one."""
    if sum([part.name == "model" for part in form.parts]) > 1:
        raise BadRequest(f"`model` is there more than once in the form of {form.api}")
    part = form.field("model")
    return Found(
        model=form.text("model"),
        model_value=form.content(part) if part is not None and part.end > part.start else None,
        model_quoted=False,
        stream=form.flag("stream"),
        **more,
    )


def _transcript(form: Form) -> Found:
    file = _one(form, "file")
    seconds = audio.seconds(form.content(file))
    found = _found(
        form,
        media=(Media("audio", file.hash, audio.encoder_tokens(seconds), file.end - file.start),),
        generation=Generation("transcript", seconds),
        max_output_tokens=form.number("max_completion_tokens"),
    )
    if not found.model:
        raise BadRequest(f"`model` not found in the form of {form.api}")
    return found


def _edit(form: Form) -> Found:
    if form.field("prompt") is None:
        raise BadRequest(f"`prompt` not found in the form of {form.api}")
    return _drawn(form, [*_some(form, "image"), *form.files("mask")])


class _JsonEdit(generating.Pictures):
    """An edit whose pictures are URLs or base64: skipped, as nobody caches what a diffusion model makes of them."""

    images: msgspec.Raw = msgspec.Raw()


_json_edit = msgspec.json.Decoder(_JsonEdit).decode


def _edit_in_json(body: Body) -> Found:
    fields = decoded(_json_edit, body, "images/edits")
    for name in ("prompt", "images"):
        need(getattr(fields, name), name, "images/edits")
    model = model_name(fields.model)
    return Found(
        model=model,
        model_value=memoryview(fields.model) if model else None,
        stream=bool(fields.stream),
        generation=pictures.work(fields.size, fields.num_inference_steps, fields.n),
    )


def _variation(form: Form) -> Found:
    return _drawn(form, _some(form, "image"))


def _drawn(form: Form, sources: list[Part]) -> Found:
    """A picture made of others; where its size is left open, it is that of the first."""
    sizes = [pixels(bytes(form.content(part)[:LOOK_BYTES])) for part in sources]
    media = [
        Media("image", part.hash, _tokens(size or DEFAULT_PIXELS), part.end - part.start)
        for part, size in zip(sources, sizes, strict=True)
    ]
    return _found(
        form,
        media=tuple(media),
        generation=pictures.work(
            form.text("size"),
            form.number("num_inference_steps"),
            form.number("n"),
            sizes[0] or pictures.DEFAULT_SIZE,
        ),
    )


def _tokens(size: tuple[int, int]) -> int:
    return max(1, size[0] * size[1] // PIXELS_PER_TOKEN)


def _some(form: Form, name: str) -> list[Part]:
    found = form.files(name)
    if not found:
        raise BadRequest(f"`{name}` not found among the files of the form of {form.api}")
    return found


def _one(form: Form, name: str) -> Part:
    found = _some(form, name)
    if len(found) > 1:
        raise BadRequest(f"`{name}` is there more than once in the form of {form.api}")
    return found[0]


FORM_APIS: tuple[Api, ...] = apis()
"""With the usual limits; upstream's parsers know none of these paths."""
