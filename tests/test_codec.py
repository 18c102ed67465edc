"""Text to ids and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.codec import Codec
from tascel.errors import ModelError, RequestError, TraceError
from tascel.types import Trace

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function", "function": {"name": "on", "arguments": '{"room": "den"}'}}


@pytest.fixture(scope="module")
def codec(toy_folder: Path) -> Codec:
    return Codec.from_pretrained(toy_folder)


@given(st.text(max_size=60))
def test_text_survives_the_way_there_and_back(codec, text):
    ids = codec.output(text)
    assert ids.dtype == np.int32
    assert codec.decode(ids.tolist()) == text


@given(st.text(max_size=40))
def test_streamed_text_is_the_whole_text_in_whole_characters(codec, text):
    stream = codec.stream()
    pieces = [stream.push(token) for token in codec.output(text).tolist()]
    assert "".join(pieces) + stream.flush() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, 270), max_size=40))
def test_any_ids_stream_to_what_they_decode_to(codec, ids):
    stream = codec.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == codec.decode(ids)


def test_prompts_are_what_the_template_makes_of_them(codec, tokenizer):
    expected = tokenizer.apply_chat_template([USER], add_generation_prompt=True, tokenize=False)
    ids = codec.prompt([USER])
    assert codec.tokenizer.decode(ids.tolist(), skip_special_tokens=False) == expected
    assert np.array_equal(codec.prompt("hi"), ids)
    with_tools = codec.prompt([USER], [{"type": "function", "function": {"name": "on"}}])
    assert len(with_tools) > len(ids)


def test_answers_end_with_the_turn(codec):
    trace = Trace((USER,), {"role": "assistant", "content": "on it"})
    ids = codec.answer(trace)
    assert ids[-1] == codec.end_id == codec.tokenizer.token_to_id("<|im_end|>")
    assert codec.decode(ids.tolist()) == "on it"
    assert [a.tolist() for a in codec.answers([trace, trace])] == [ids.tolist()] * 2
    empty = Trace((USER,), {"role": "assistant", "content": ""})
    assert codec.answer(empty).tolist() == [codec.end_id]


def test_tool_calls_are_written_as_the_template_writes_them(codec, tokenizer):
    answer = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    trace = Trace((USER,), answer)
    whole = np.concatenate([codec.prompt([USER]), codec.answer(trace)])
    parsed = {**CALL, "function": {"name": "on", "arguments": {"room": "den"}}}
    conversation = [USER, {**answer, "tool_calls": [parsed]}]
    expected = tokenizer.apply_chat_template(conversation, tokenize=False)
    text = codec.tokenizer.decode(whole.tolist(), skip_special_tokens=False)
    assert expected.strip() == text.strip()


def test_a_saved_codec_is_the_same_codec(codec, tmp_path):
    codec.save(tmp_path)
    again = Codec.from_pretrained(tmp_path)
    assert (again.fingerprint, again.end_id, again.eos_ids) == (
        codec.fingerprint, codec.end_id, codec.eos_ids,
    )  # fmt: skip


def test_another_vocabulary_has_another_fingerprint(codec, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    vocab["!"], vocab["#"] = vocab["#"], vocab["!"]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert Codec.from_pretrained(tmp_path).fingerprint != codec.fingerprint


def test_a_damaged_tokenizer_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"li"', '"lj"'), encoding="utf-8")
    with pytest.raises(ModelError, match="no tokenizer"):  # a merge without its piece
        Codec.from_pretrained(tmp_path)


def test_without_a_template_the_text_is_the_prompt(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    codec = Codec.from_pretrained(tmp_path)
    assert codec.decode(codec.prompt("turn").tolist()) == "turn"
    with pytest.raises(RequestError, match="no chat template"):
        codec.prompt("turn", tools=[{}])
    with pytest.raises(TraceError, match="tool calls"):
        codec.answer(Trace((USER,), {"role": "assistant", "tool_calls": [CALL]}))


def test_nothing_there_is_said_plainly(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer"):
        Codec.from_pretrained(tmp_path)
