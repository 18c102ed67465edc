"""How a model writes tool calls, read off its own chat template, and calls read back from text.

Only calls written as JSON objects are understood: `<tool_call>{"name": …, "arguments": {…}}`, a
list of such objects, one bare object, and their like.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tascel.codec import Codec
from tascel.errors import RequestError, TraceError
from tascel.types import Message, Trace

Json = Any
Call = dict[str, Any]

# The calls that a template is shown. Mistral's wants ids of nine letters and digits.
_NAMES = ("look_up_first", "look_up_second")
_ARGUMENTS = ({"first": 1}, {"second": 2})
_IDS = ("call00001", "call00002")


@dataclass(frozen=True, slots=True)
class CallFormat:
    """What a model writes to make calls: `open JSON close (between open JSON close)*`.

    Attributes:
        repeats: whether several calls can be made.
        listed: whether the JSON is one list of all calls; then nothing else repeats.
        sample: one call as JSON, with a known name and known arguments in their places.
        marker: what of `open` is seen in an answer's text, where special tokens are left out: it
            announces a call. May be empty; then only an answer's beginning can be a call.
        ending: what of `close` is seen.
    """

    open: str
    close: str
    between: str
    repeats: bool
    listed: bool
    sample: Mapping[str, Json]
    marker: str
    ending: str

    @staticmethod
    def of(codec: Codec) -> CallFormat:
        """How the codec's chat template writes calls.

        Raises:
            RequestError: it writes none, or not as JSON with a name and arguments.
        """
        head, value, tail = _split(_written(codec, 1))
        listed = isinstance(value, list)
        sample: Json = cast(list[Json], value)[0] if listed else value
        if _fields(sample, sample) != {"name": _NAMES[0], "arguments": _ARGUMENTS[0]}:
            raise _unreadable()
        glue = _glue(codec)
        repeats = listed and glue is not None
        open_, close, between = head, tail, ""
        if glue and not listed:  # as much of it as both calls have behind them, and before them
            behind = _beginning(tail, glue)
            before = _beginning(head[::-1], glue[len(behind) :][::-1])[::-1].lstrip()
            if before:
                repeats, open_, close = True, before, behind
                between = glue[len(behind) : len(glue) - len(before)]

        def seen(text: str) -> str:
            return codec.decode(codec.output(text).tolist()).strip()

        return CallFormat(
            open=open_,
            close=close,
            between=between,
            repeats=repeats,
            listed=listed,
            sample=sample,
            marker=seen(open_),
            ending=seen(close),
        )

    def schema(self, name: str, arguments: Mapping[str, Json]) -> dict[str, Json]:
        """The JSON schema of one call of `name` whose arguments follow a schema."""
        return _schema(self.sample, name, arguments)

    def calls(self, value: Json) -> list[Call]:
        """The calls in JSON that a model wrote, in OpenAI's shape; [] if it is anything else."""
        parts = cast(list[Json], value) if isinstance(value, list) else [value]
        found = [_fields(part, self.sample) for part in parts]
        if not all(
            isinstance(f.get("name"), str) and isinstance(f.get("arguments"), dict) for f in found
        ):
            return []
        return [_call(fields["name"], fields["arguments"]) for fields in found]


class CallReader:
    """Parts an answer's text, as it is streamed, into content and finished calls.

    `names` are the functions that may be called: where no marker announces calls, JSON that names
    another is content. Whitespace around calls is nobody's.
    """

    def __init__(self, format: CallFormat, names: Collection[str]) -> None:
        self._format = format
        self._names = names
        self._text = ""  # read, and not yet given back
        self._begun = False  # whether anything was given back
        self._called = False
        self._behind = False  # whether a call was the last thing given back

    def feed(self, piece: str) -> tuple[str, list[Call]]:
        """Take the next text; returns what is now certain: content, and calls in OpenAI's shape."""
        self._text += piece
        return self._read(final=False)

    def finish(self) -> tuple[str, list[Call]]:
        """What is left when the answer ends. A call that was not finished is content."""
        return self._read(final=True)

    def _read(self, final: bool) -> tuple[str, list[Call]]:
        content, calls = "", list[Call]()
        if self._behind:
            self._text = self._text.lstrip()
        while (at := self._opening()) >= 0:
            before = len(self._text[:at].rstrip())
            found = self._calls(at + len(self._format.marker), final)
            if found is None:  # not whole yet
                content += self._give(len(self._text) if final else before)
                break
            here, end = found
            content += self._give(before if here else end)
            if here:
                self._text = self._text[end - before :].lstrip()
                self._called = self._begun = self._behind = True
                calls += here
        else:
            content += self._give(len(self._text) - (0 if final else self._open_end()))
        return content.rstrip() if final and self._called else content, calls

    def _opening(self) -> int:
        """Where a call begins or may begin; -1 for nowhere."""
        if self._format.marker:
            return self._text.find(self._format.marker)
        at = len(self._text) - len(self._text.lstrip())
        return at if not self._begun and self._text[at : at + 1] in ("{", "[") else -1

    def _calls(self, at: int, final: bool) -> tuple[list[Call], int] | None:
        """The calls that the JSON from `at` on makes, and where they end; None: not whole yet."""
        start = len(self._text) - len(self._text[at:].lstrip())
        try:
            value, end = json.JSONDecoder(parse_constant=_refused).raw_decode(self._text, start)
        except (ValueError, RecursionError):
            return None
        rest, ending = self._text[end:].lstrip(), self._format.ending
        if rest.startswith(ending):
            end = len(self._text) - len(rest) + len(ending)
        elif not final and ending.startswith(rest):
            return None
        calls = self._format.calls(value)
        known = all(call["function"]["name"] in self._names for call in calls)
        return (calls if known or self._format.marker else []), end

    def _open_end(self) -> int:
        """How much of the text's end may yet belong to a call: whitespace and half a marker."""
        text, marker = self._text, self._format.marker
        longest = min(len(text), len(marker) - 1)
        half = next((n for n in range(longest, 0, -1) if text.endswith(marker[:n])), 0)
        return len(text) - len(text[: len(text) - half].rstrip())

    def _give(self, length: int) -> str:
        text, self._text = self._text[:length], self._text[length:]
        self._begun = self._begun or bool(text)
        self._behind = self._behind and not text
        return text


def parse_calls(text: str, format: CallFormat, names: Collection[str]) -> tuple[str, list[Call]]:
    """Content and calls, in OpenAI's shape, of a whole answer."""
    reader = CallReader(format, names)
    (content, calls), (rest, late) = reader.feed(text), reader.finish()
    return content + rest, calls + late


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _call(name: str, arguments: Mapping[str, Json]) -> Call:
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _written(codec: Codec, count: int) -> str:
    """What the model writes to make `count` known calls, special tokens shown."""
    tools = tuple(_tool(*known) for known in zip(_NAMES, _ARGUMENTS, strict=True))
    functions = [
        {"name": name, "arguments": json.dumps(given)}
        for name, given in zip(_NAMES, _ARGUMENTS, strict=True)
    ]
    bare: list[Message] = [{"type": "function", "function": f} for f in functions]
    named = [{"id": id_, **call} for id_, call in zip(_IDS, bare, strict=True)]
    try:
        ids = _answer(codec, bare[:count], tools)
    except TraceError:  # a template that wants ids
        try:
            ids = _answer(codec, named[:count], tools)
        except TraceError as error:
            raise RequestError(error.what, _REMEDY) from error
    return codec.tokenizer.decode(ids, skip_special_tokens=False)


def _answer(codec: Codec, calls: Sequence[Message], tools: tuple[Message, ...]) -> list[int]:
    asked: Message = {"role": "user", "content": "a"}
    turn: Message = {"role": "assistant", "content": "", "tool_calls": calls}
    return codec.answer(Trace((asked,), turn, tools)).tolist()[:-1]


def _tool(name: str, arguments: Mapping[str, Json]) -> Message:
    types = {key: {"type": "integer", "description": key} for key in arguments}
    parameters = {"type": "object", "properties": types}
    function = {"name": name, "description": name, "parameters": parameters}
    return {"type": "function", "function": function}


def _split(text: str) -> tuple[str, Json, str]:
    """What stands before the JSON that holds the first known name, that JSON, and what follows."""
    for at, letter in enumerate(text):
        if letter in "[{":
            try:
                value, end = json.JSONDecoder().raw_decode(text, at)
            except ValueError:
                continue
            if _NAMES[0] in text[at:end]:
                return text[:at], value, text[end:]
    raise _unreadable()


def _glue(codec: Codec) -> str | None:
    """What stands between the JSON of two calls; None if the template writes only one."""
    try:
        tail = _split(_written(codec, 2))[2]
    except RequestError:
        return None
    return tail[: max(0, tail.find("{"))]


def _beginning(a: str, b: str) -> str:
    """What both begin with."""
    pairs = zip(a, b, strict=False)
    return a[: next((n for n, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))]


def _fields(value: Json, sample: Json) -> dict[str, Json]:
    """Name and arguments: what stands in `value` where they stand in `sample`."""
    if sample == _NAMES[0]:
        return {"name": value}
    if sample == _ARGUMENTS[0]:
        return {"arguments": value}
    found: dict[str, Json] = {}
    if isinstance(sample, dict) and isinstance(value, dict):
        for key, below in cast(dict[str, Json], sample).items():
            found |= _fields(cast(dict[str, Json], value).get(key), below)
    return found


def _schema(sample: Json, name: str, arguments: Mapping[str, Json]) -> dict[str, Json]:
    if sample == _NAMES[0]:
        return {"const": name}
    if sample == _ARGUMENTS[0]:
        return dict(arguments)
    if sample == _IDS[0]:
        return {"type": "string", "pattern": "^[A-Za-z0-9]{9}$"}
    if not isinstance(sample, dict):
        return {"const": sample}
    below = cast(dict[str, Json], sample)
    return {
        "type": "object",
        "properties": {key: _schema(value, name, arguments) for key, value in below.items()},
        "required": list(below),
        "additionalProperties": False,
    }


_REMEDY = "Leave out `tools`, or use a model whose chat template writes calls as JSON"


def _unreadable() -> RequestError:
    what = "the model's chat template does not write tool calls as JSON with a name and arguments"
    return RequestError(what, _REMEDY)
