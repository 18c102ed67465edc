"""Tool calls: how each kind of template writes them, reading them back, and grammars for them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.codec import Codec
from tascel.errors import RequestError
from tascel.grammar import Grammars
from tascel.tools import CallFormat, CallReader, parse_calls
from tascel.types import Trace

LIGHT = {
    "type": "function",
    "function": {
        "name": "light",
        "parameters": {
            "type": "object",
            "properties": {"room": {"$ref": "#/$defs/room"}, "on": {"type": "boolean"}},
            "required": ["room"],
            "additionalProperties": False,
            "$defs": {"room": {"enum": ["hall", "loft"]}},
        },
    },
}
STOP = {"type": "function", "function": {"name": "stop"}}
TOOLS = (LIGHT, STOP)
NAMES = {"light", "stop"}
CALLS = [("light", {"room": "hall", "on": True}), ("stop", {})]


def written(codec: Codec, calls: list[tuple[str, Any]], content: str = "") -> list[int]:
    """What the codec's template makes of calls, as ids with the closing one."""
    given = [
        {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for name, arguments in calls
    ]
    if "id" in CallFormat.of(codec).sample:
        given = [{"id": f"abcdefgh{n}", **call} for n, call in enumerate(given)]
    answer = {"role": "assistant", "content": content, "tool_calls": given}
    return codec.answer(Trace(({"role": "user", "content": "a"},), answer, TOOLS)).tolist()


def functions(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    assert all(call["type"] == "function" and call["id"] for call in calls)
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]


def follows(grammar: Any, ids: list[int]) -> int:
    """How many of `ids` the grammar allows, one after the other."""
    place = grammar.start()
    for count, token in enumerate(ids):
        if not place.allows(token):
            return count
        place.accept(token)
    return len(ids)


def test_what_templates_write(codec_of):
    tagged, bare = CallFormat.of(codec_of("tagged")), CallFormat.of(codec_of("bare"))
    assert (tagged.open, tagged.between, tagged.close) == ("<tool_call>\n", "\n", "\n</tool_call>")
    assert (tagged.repeats, tagged.listed) == (True, False)
    assert tagged == CallFormat.of(codec_of("thinking"))
    assert (bare.open, bare.marker, bare.repeats) == ("", "", False)
    assert list(bare.sample) == ["name", "parameters"]
    listed = CallFormat.of(codec_of("listed"))
    assert (listed.open, listed.close, listed.marker) == ("<|calls|>", "<|done|>", "")
    assert (listed.repeats, listed.listed) == (True, True)
    assert list(CallFormat.of(codec_of("with ids")).sample) == ["name", "arguments", "id"]
    assert list(CallFormat.of(codec_of("openai")).sample) == ["type", "function"]


def test_other_templates_are_refused(unreadable):
    with pytest.raises(RequestError, match="template does not write tool calls"):
        CallFormat.of(unreadable)


def test_calls_are_read_back(codec):
    form = CallFormat.of(codec)
    calls = CALLS if form.repeats else CALLS[:1]
    content, found = parse_calls(codec.decode(written(codec, calls)), form, NAMES)
    assert functions(found) == calls
    assert content in ("", "<think>\n\n</think>")


def test_spaced_otherwise_they_are_read_too(codec_of):
    form = CallFormat.of(codec_of("tagged"))
    text = 'Well.\n <tool_call>{"arguments":{"room":"hall"},\n"name":"light"}</tool_call>\n\n'
    content, found = parse_calls(text, form, NAMES)
    assert (content, functions(found)) == ("Well.", [("light", {"room": "hall"})])


@pytest.mark.parametrize(
    "text",
    [
        "No call.\n", "  indented", "<tool", "<tool_call>", "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": "light", "argu', "x <tool_call> y", '{"name": 3, "arguments": {}}',
        '<tool_call>{"name": "light", "arguments": 3}</tool_call> so it is', "",
    ],
)  # fmt: skip
def test_what_is_no_call_is_content(codec_of, text):
    for name in ("tagged", "bare", "listed"):
        assert parse_calls(text, CallFormat.of(codec_of(name)), NAMES) == (text, [])


def test_without_a_marker_json_that_names_no_tool_is_content(codec_of):
    form = CallFormat.of(codec_of("bare"))
    text = '{"name": "Ada", "parameters": {}}'
    assert parse_calls(text, form, NAMES) == (text, [])
    assert functions(parse_calls(text, form, {"Ada"})[1]) == [("Ada", {})]
    assert parse_calls("See " + text, form, {"Ada"}) == ("See " + text, [])


PARTS = [
    "text", " ", "\n", "<", "<tool_call>", "</tool_call>", "[", "{}", "]", '{"name": "stop", ',
    '"arguments": {}}', '{"name": "light", "arguments": {"room": "<tool_call>"}}', ", ", "é", "12",
]  # fmt: skip


@settings(max_examples=300)
@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=14),
    cuts=st.lists(st.integers(0, 200), max_size=30),
    name=st.sampled_from(["tagged", "bare", "listed"]),
)
def test_pieces_read_as_the_whole(codec_of, parts, cuts, name):
    form, text = CallFormat.of(codec_of(name)), "".join(parts)
    reader, content, calls = CallReader(form, NAMES), "", []
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in pairwise(edges):
        more, found = reader.feed(text[start:end])
        content, calls = content + more, calls + found
    more, found = reader.finish()
    whole = parse_calls(text, form, NAMES)
    assert (content + more, functions(calls + found)) == (whole[0], functions(whole[1]))


def test_content_streams_until_a_call_may_begin(codec_of):
    reader = CallReader(CallFormat.of(codec_of("tagged")), NAMES)
    assert reader.feed("Here it ") == ("Here it", [])
    assert reader.feed("is <tool") == (" is", [])
    assert reader.feed("box>. <tool_call>\n{") == (" <toolbox>.", [])
    assert reader.feed('"name": "stop", "arguments": {}}') == ("", [])
    content, calls = reader.feed("\n</tool_call>\n")
    assert (content, functions(calls)) == ("", [("stop", {})])
    assert reader.finish() == ("", [])


def test_a_grammar_allows_what_the_template_writes(codec_of):
    for name in ("tagged", "bare", "listed", "with ids", "openai"):
        codec = codec_of(name)
        grammars = Grammars(codec)
        calls = CALLS if grammars.calls.repeats else CALLS[:1]
        ids = written(codec, calls)
        for choice in ("auto", "required"):
            assert follows(grammars.tools(TOOLS, choice), ids) == len(ids)
        named = grammars.tools(TOOLS, STOP)
        assert follows(named, written(codec, CALLS[1:])) == len(written(codec, CALLS[1:]))
        assert follows(named, written(codec, CALLS[:1])) < len(written(codec, CALLS[:1]))
        for wrong in ([("light", {"room": "cellar"})], [("sing", {})], [("light", {})]):
            ids = written(codec, wrong)
            assert follows(grammars.tools(TOOLS, "required"), ids) < len(ids)
            assert follows(grammars.tools(TOOLS), ids) < len(ids)


def test_one_named_call_is_all(codec_of):
    codec = codec_of("tagged")
    ids = written(codec, [CALLS[1]] * 2)
    once = len(written(codec, CALLS[1:])) - 1
    assert follows(Grammars(codec).tools(TOOLS, STOP), ids) == once
    assert follows(Grammars(codec).tools(TOOLS, "required", parallel=False), ids) == once
    assert follows(Grammars(codec).tools(TOOLS, "auto", parallel=False), ids) < len(ids)


def test_text_is_free_where_the_model_may_choose(codec):
    grammars = Grammars(codec)
    text = [*codec.output("Two lines\nof text, [and] {braces}.").tolist(), codec.end_id]
    assert follows(grammars.tools(TOOLS), text) == len(text)
    assert follows(grammars.tools(TOOLS, "required"), text) == 0


def test_text_may_come_before_marked_calls(codec_of):
    for name in ("tagged", "thinking"):
        codec = codec_of(name)
        ids = written(codec, CALLS, content="I will.\n")
        assert follows(Grammars(codec).tools(TOOLS), ids) == len(ids)


def test_a_mark_that_is_plain_text(codec_of, tokenizer):
    codec = codec_of("tagged")
    plain = Codec(tokenizer.backend_tokenizer, None, codec.eos_ids)
    grammars = Grammars(plain)
    grammars.calls = CallFormat.of(codec)
    for text, whole in [
        ('Yes <tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>\nDone <tool', True),
        ("<tool_call>\nstop", False),
        ("No <tool>", True),
    ]:
        ids = [*plain.output(text).tolist(), plain.end_id]
        assert (follows(grammars.tools(TOOLS), ids) == len(ids)) is whole


@pytest.mark.parametrize(
    ("tools", "choice", "what"),
    [
        ([], "auto", "no such tool"),
        (TOOLS, {"type": "function", "function": {"name": "sing"}}, "no such tool"),
        (TOOLS, "none", "tool_choice 'none' is unknown"),
        (TOOLS, {"type": "function"}, "no function with a name"),
        ([{"type": "function", "function": {}}], "auto", "no function with a name"),
        (["light"], "auto", "no function with a name"),
        ([{"function": {"name": "f", "parameters": [1]}}], "auto", "f are no JSON schema"),
        ([{"function": {"name": "f", "parameters": {"x": object()}}}], "auto", "is not JSON"),
        ([{"function": {"name": "f", "parameters": {"type": "objet"}}}], "auto", "Invalid type"),
        (
            [{"function": {"name": "f", "strict": True, "parameters": {"not": {}}}}],
            "auto",
            'Unimplemented keys: \\["not"\\]',
        ),
    ],
)
def test_bad_tools_are_refused(codec_of, tools, choice, what):
    with pytest.raises(RequestError, match=what):
        Grammars(codec_of("tagged")).tools(tools, choice)


def test_functions_that_are_not_strict_may_use_what_is_not_supported(codec_of):
    codec = codec_of("tagged")
    odd = {
        "function": {"name": "stop", "parameters": {"properties": {}, "not": {"minProperties": 9}}}
    }
    ids = written(codec, CALLS[1:])
    assert follows(Grammars(codec).tools([odd], "required"), ids) == len(ids)


def test_what_has_to_come_is_guessed(codec_of):
    codec = codec_of("tagged")
    place = Grammars(codec).tools(TOOLS, STOP).start()
    assert codec.decode(place.forced()) == codec.decode(written(codec, CALLS[1:]))
    mask = np.zeros(codec.vocab_size, np.float32)
    place.mask(mask)
    assert np.flatnonzero(mask == 0).tolist() == [codec.output("<tool_call>")[0]]
