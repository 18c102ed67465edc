"""Tools, response formats and regular expressions, over HTTP."""

from __future__ import annotations

import json
import re

import openai
import pytest

from tascel.serve.turn import Turn, message
from tascel.tools import CallFormat, CallReader

SCHEMA = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "room": {"enum": ["den", "hall"]}},
    "required": ["on", "room"],
    "additionalProperties": False,
}
ON = {"properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "set", "parameters": ON}},
    {"type": "function", "function": {"name": "ask"}},
]


def chat(client, **options):
    given = {"messages": [{"role": "user", "content": "light"}], "max_tokens": 100}
    return client.chat.completions.create(model="toy", **given | options)


def fold(events):
    """What a stream says in all: content, calls, and why it ended."""
    content, calls, reason = "", {}, None
    for event in events:
        choice = event.choices[0]
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.type == "function"
            assert call.index not in calls
            calls[call.index] = (call.function.name, call.function.arguments)
        reason = choice.finish_reason or reason
    return content, [calls[at] for at in sorted(calls)], reason


def test_json_of_a_schema(client):
    named = {"name": "state", "schema": SCHEMA, "strict": True}
    wanted = {"type": "json_schema", "json_schema": named}
    for options in ({}, {"temperature": 1.5, "seed": 3}, {"n": 2}):
        for choice in chat(client, response_format=wanted, **options).choices:
            value = json.loads(choice.message.content)
            assert set(value) == {"on", "room"}
            assert value["room"] in ("den", "hall")
            assert choice.finish_reason == "stop"
    content, _, _ = fold(chat(client, response_format=wanted, stream=True))
    assert content == chat(client, response_format=wanted).choices[0].message.content


def test_any_json_object(client):
    choice = chat(client, response_format={"type": "json_object"}, temperature=1.0, seed=1).choices[
        0
    ]
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":
        json.loads(choice.message.content)
    plain = chat(client).choices[0].message.content
    assert chat(client, response_format={"type": "text"}).choices[0].message.content == plain


def test_a_regular_expression(client):
    extra = {"structured_outputs": {"regex": r"[0-9]{3}-[a-c]{2}"}}
    reply = chat(client, extra_body=extra)
    assert re.fullmatch(r"[0-9]{3}-[a-c]{2}", reply.choices[0].message.content)
    reply = client.completions.create(model="toy", prompt="light", extra_body=extra)
    assert re.fullmatch(r"[0-9]{3}-[a-c]{2}", reply.choices[0].text)


NONSENSE = {"name": "x", "schema": {"type": "nonsense"}}
UNSURE = {"type": "function", "function": {"name": "f", "parameters": {"type": 7}, "strict": True}}
JSON = {"type": "json_object"}
REGEX = {"structured_outputs": {"regex": "a"}}


@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "json_schema", "json_schema": NONSENSE}},
        {"response_format": {"type": "yaml"}},
        {"extra_body": {"structured_outputs": {"regex": "(("}}},
        {"extra_body": REGEX, "response_format": JSON},
        {"tools": TOOLS, "response_format": JSON},
        {"tools": TOOLS, "extra_body": REGEX},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"tools": [UNSURE], "tool_choice": "required"},
    ],
)
def test_formats_that_cannot_be_had_are_refused(client, options):
    with pytest.raises(openai.BadRequestError):
        chat(client, **options)


def test_a_function_that_must_be_called(client):
    wanted = {"type": "function", "function": {"name": "set"}}
    choice = chat(client, tools=TOOLS, tool_choice=wanted).choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert call.id.startswith("call_")
    assert call.function.name == "set"
    assert json.loads(call.function.arguments)["on"] in (True, False)
    streamed = fold(chat(client, tools=TOOLS, tool_choice=wanted, stream=True))
    assert streamed == ("", [("set", call.function.arguments)], "tool_calls")


def test_some_function_must_be_called(client):
    choice = chat(client, tools=TOOLS[:1], tool_choice="required").choices[0]
    assert choice.message.tool_calls or choice.finish_reason == "length"
    for call in choice.message.tool_calls or ():
        assert call.function.name == "set"


def test_one_call_may_be_all(client):
    choice = chat(
        client, tools=TOOLS[:1], tool_choice="required", parallel_tool_calls=False
    ).choices[0]
    assert len(choice.message.tool_calls) == 1
    assert choice.finish_reason == "tool_calls"


def test_tools_that_may_be_called_need_not_be(client):
    free = chat(client, tools=TOOLS).choices[0]
    assert free.finish_reason in ("stop", "length")
    assert free.message.content
    assert fold(chat(client, tools=TOOLS, stream=True)) == (
        free.message.content.rstrip(), [], free.finish_reason,
    )  # fmt: skip
    none = chat(client, tools=TOOLS, tool_choice="none")
    plain = chat(client)
    assert none.choices[0].message == plain.choices[0].message
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens
    strict = [TOOLS[0] | {"function": TOOLS[0]["function"] | {"strict": True}}]
    assert chat(client, tools=strict).choices[0].message


@pytest.mark.parametrize("parallel", [True, False])
def test_calls_are_read_from_text_as_it_comes(served_runner, parallel):
    form = CallFormat.of(served_runner.codec)
    calls = [
        {"type": "function", "function": {"name": name, "arguments": {"at": at}}}
        for at, name in enumerate(("set", "ask"))
    ]
    turn = Turn(CallReader(form, ("set", "ask")), parallel)
    text = json.dumps(calls)
    deltas = [delta for at in range(0, len(text), 3) for delta in turn.push(text[at : at + 3])]
    whole = message([*deltas, *turn.end()])
    assert whole.content is None
    assert [call.function.name for call in whole.tool_calls] == ["set", "ask"][: 1 + parallel]
    assert json.loads(whole.tool_calls[0].function.arguments) == {"at": 0}
    assert (turn.finish("stop"), turn.finish("length")) == ("tool_calls", "length")


def test_text_without_calls_is_content(served_runner):
    turn = Turn(CallReader(CallFormat.of(served_runner.codec), ("set",)), True)
    whole = message([*turn.push("light "), *turn.push("on"), *turn.end()])
    assert (whole.content, whole.tool_calls) == ("light on", None)
    assert turn.finish("stop") == "stop"
