"""Tool calls as llguidance's Lark: what stands around the JSON, and the JSON's schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tascel.errors import RequestError
from tascel.tools import CallFormat

Json = Any
#: Cuts text at the ids that stand for themselves and are no text.
Pieces = Callable[[str], Sequence[str | int]]


def only_calls(form: CallFormat, many: bool, pieces: Pieces) -> str:
    """An answer that is nothing but calls; `json` is the rule for what they hold."""
    call = f"{_literal(pieces(form.open))} json {_literal(pieces(form.close))}"
    more = f"({_literal(pieces(form.between))} call)*" if many and not form.listed else ""
    return f"call: {call}\nstart: call {more}"


def text_and_calls(form: CallFormat, many: bool, pieces: Pieces, ends: Collection[int]) -> str:
    """Text, with calls where the model wants them. `ends` are the ids that end an answer."""
    first, *rest = pieces(form.open) or [""]
    times = "*" if many and not form.listed else "?"
    body = f"json {_literal(pieces(form.close))}"
    if isinstance(first, int):  # anything else may come before that id
        others = ",".join(map(str, [first, *ends]))
        call = f"text {_literal([first, *rest])} {body}"
        return f"text: <[^{others}]>*\ncall: {call}\nstart: call{times} text"
    if mark := first.strip():  # text ends where the mark does
        behind = first[first.index(mark) + len(mark) :]
        opened = f"opened[lazy]: TEXT {_literal([mark])}\nTEXT: /(.|\\n)*/"
        call = f"opened {_literal([behind, *rest])} {body}"
        return f"{opened}\ncall: {call}\nstart: call{times} TEXT"
    bracket = r"\[" if form.listed else "{"  # nothing marks a call: text must not begin as one
    return f"TEXT: /\\s*([^\\s{bracket}](.|\\n)*)?/\nstart: TEXT | {body}"


def calls_schema(
    form: CallFormat, functions: Sequence[Mapping[str, Json]], many: bool
) -> dict[str, Json]:
    """The schema of the JSON in a call. What llguidance lacks is refused only where a function is
    `strict`."""
    calls = [form.schema(f["name"], _arguments(f, at)) for at, f in enumerate(functions)]
    schema: dict[str, Json] = {"anyOf": calls}
    if form.listed:
        schema = {"type": "array", "items": schema, "minItems": 1}
        schema |= {} if many else {"maxItems": 1}
    strict = any(function.get("strict") for function in functions)
    return {**schema, "x-guidance": {"lenient": not strict}}


def function_of(tool: Json) -> Mapping[str, Json]:
    """The function of a tool, or of a `tool_choice`.

    Raises:
        RequestError: there is none, or it has no name.
    """
    try:
        function = tool["function"]
        if isinstance(function["name"], str):
            return function
    except (TypeError, KeyError):
        pass
    raise RequestError(
        "a tool has no function with a name",
        'Give tools as {"type": "function", "function": {"name": …, "parameters": …}}',
    )


def _arguments(function: Mapping[str, Json], number: int) -> dict[str, Json]:
    """The schema of the arguments, as a resource of its own, so that `$ref` stays inside it."""
    nothing: dict[str, Json] = {"properties": {}, "additionalProperties": False}
    given: Json = function.get("parameters") or nothing
    if not isinstance(given, Mapping):
        raise RequestError(
            f"the parameters of {function['name']} are no JSON schema", "Give an object"
        )
    return {"$id": f"tool:{number}", "type": "object", **given}


def _literal(pieces: Sequence[str | int]) -> str:
    parts = [
        f"<[{p}]>" if isinstance(p, int) else json.dumps(p, ensure_ascii=False) for p in pieces
    ]
    return " ".join(part for part in parts if part != '""')
