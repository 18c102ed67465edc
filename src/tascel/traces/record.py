"""What a record of a trace file may look like, and the trace it holds.

Knows the field names and OpenAI's messages; knows nothing of files, tokens or templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from tascel.errors import RequestError
from tascel.types import Message, Trace

SHAPES = (
    'A record is {"prompt": …, "output": …} or {"messages": […], "tools": […]}, a prompt to be '
    "answered may lack the answer; --skip-bad leaves bad records out"
)
#: The keys that are read; a record may have others.
FIELDS = ("prompt", "output", "messages", "tools", "system", "task", "split", "group", "time")
#: Seconds: some 30,000 years. Milliseconds of our days are more.
_END_OF_TIME = 1e12


def from_json(line: bytes) -> Any:
    """Decode one line. ValueError: not UTF-8, not JSON, or not text a tokenizer takes."""
    record = json.loads(line.decode("utf-8"))
    if b"\\u" in line:
        # JSON can spell half a surrogate pair, which is no character and no tokenizer takes.
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    return record


def conversation(messages: Any) -> tuple[Message, ...]:
    """Messages as an API's user gives them, in the shape that templates take.

    Raises:
        RequestError: they are no messages; the error says why.
    """
    try:
        return _messages(list(messages))
    except (ValueError, TypeError) as error:
        raise RequestError(
            f"the prompt is neither text nor messages ({error})",
            'A message is {"role": "user", "content": "…"}',
        ) from None


def why(error: Exception) -> str:
    """What is wrong with a record, for people."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start + 1} of the text"
    if isinstance(error, UnicodeEncodeError):
        return "a \\u escape is half a surrogate pair"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)


def trace(record: Any, need_answer: bool) -> Trace:
    """Read one decoded record.

    Without `need_answer`, a conversation that ends with the user is a prompt.

    Raises:
        ValueError: a field is missing or has the wrong type; the message says which.
    """
    if not isinstance(record, dict):
        raise ValueError(f"not an object but {_name(record)}")
    fields = cast(dict[str, Any], record)
    if fields.get("messages") is not None:
        messages, answer = _split_turns(_messages(fields["messages"]), need_answer)
    elif fields.get("prompt") is not None:
        messages = ({"role": "user", "content": _text(fields, "prompt")},)
        output = _text(fields, "output")
        answer = None if output is None else {"role": "assistant", "content": output}
    else:
        raise ValueError(f"has neither `prompt` nor `messages`, only {_keys(fields)}")
    if need_answer and answer is None:
        raise ValueError(f"has no `output`, only {_keys(fields)}")
    if (system := _text(fields, "system")) is not None:
        if messages[0]["role"] == "system":
            raise ValueError("has both `system` and a system message")
        messages = ({"role": "system", "content": system}, *messages)
    return Trace(
        messages=messages,
        answer=answer,
        tools=_tools(fields.get("tools")),
        task=_text(fields, "task"),
        split=_text(fields, "split"),
        group=_text(fields, "group"),
        time=_time(fields.get("time")),
    )


def _split_turns(
    turns: tuple[Message, ...], need_answer: bool
) -> tuple[tuple[Message, ...], Message | None]:
    """The conversation, and the last assistant turn: what follows that turn is nobody's answer."""
    last = len(turns) - 1
    if need_answer:
        while last >= 0 and turns[last]["role"] != "assistant":
            last -= 1
        if last < 0:
            raise ValueError("`messages` has no assistant turn")
    if turns[last]["role"] != "assistant":
        return turns, None
    if last == 0:
        raise ValueError("`messages` has no turn before the answer")
    return turns[:last], turns[last]


def _messages(value: Any) -> tuple[Message, ...]:
    turns = tuple(_message(turn) for turn in _list(value, "messages"))
    if not turns:
        raise ValueError("`messages` is empty")
    return turns


def _message(value: Any) -> Message:
    if not isinstance(value, dict):
        raise ValueError(f"`messages` holds {_name(value)} where a message belongs")
    fields = {k: v for k, v in cast(dict[str, Any], value).items() if v is not None}
    if not isinstance(fields.get("role"), str):
        raise ValueError("a message has no `role`")
    if "tool_calls" in fields:
        fields["tool_calls"] = _list(fields["tool_calls"], "tool_calls")
        for call in fields["tool_calls"]:
            if not isinstance(_at(_at(call, "function"), "name"), str):
                raise ValueError("a tool call has no function with a `name`")
    elif fields["role"] == "assistant" and "content" not in fields:
        raise ValueError("an assistant turn has neither `content` nor `tool_calls`")
    fields["content"] = _content(fields.get("content", ""))
    return fields


def _content(value: Any) -> str:
    """A message's text; OpenAI also writes it as a list of text parts."""
    if isinstance(value, str):
        return value
    texts: list[str] = []
    for part in _list(value, "content"):
        text = _at(part, "text")
        if not isinstance(text, str):
            raise ValueError("`content` has a part that is not text")
        texts.append(text)
    return "".join(texts)


def _tools(value: Any) -> tuple[Message, ...] | None:
    if value is None:
        return None
    tools = _list(value, "tools")
    if not all(isinstance(tool, dict) for tool in tools):
        raise ValueError("`tools` holds something that is not an object")
    return tuple(tools) or None


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) and name != "content":  # tables often keep nested values as JSON text
        value = json.loads(value)
    if not isinstance(value, list):
        raise ValueError(f"`{name}` is {_name(value)}, not a list")
    return cast(list[Any], value)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    if name == "group" and isinstance(value, int):
        return str(value)
    raise ValueError(f"`{name}` is {_name(value)}, not text")


def _time(value: Any) -> float | None:
    """Seconds since 1970, or a date and time as ISO 8601 writes it, by UTC if it names no zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"`time` is {value[:40]!r}, no date and time of ISO 8601") from None
    if isinstance(value, datetime):  # Parquet has a type for it
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`time` is {_name(cast(object, value))}, neither seconds nor a text")
    if not abs(value) < _END_OF_TIME:  # what is no number is not below it, either
        raise ValueError(f"`time` is {value}, which is no number of seconds since 1970")
    return float(value)


def _at(value: Any, key: str) -> Any:
    return cast(dict[str, Any], value).get(key) if isinstance(value, dict) else None


def _name(value: Any) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a boolean",
        int: "a number",
    }
    names |= {float: "a number", bytes: "bytes", type(None): "null"}
    kind = cast(type[Any], type(value))
    return names.get(kind, f"a {kind.__name__}")


def _keys(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key[:40]}`" for key in list(fields)[:8]) or "nothing"
