"""Text to ids and back."""

from __future__ import annotations

import copy
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
    assert [a.tolist() for _, a in codec.answers([trace, trace])] == [ids.tolist()] * 2
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


def with_template(tokenizer, template, folder):
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    own.save_pretrained(folder)
    return Codec.from_pretrained(folder)


TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}"


def test_answers_are_what_follows_the_generation_prompt(tokenizer, tmp_path):
    # the newline after the role belongs to the answer when generation begins before it
    template = (
        TURNS + "\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
    )
    codec = with_template(tokenizer, template, tmp_path)
    answer = codec.answer(Trace((USER,), {"role": "assistant", "content": "{}"}))
    assert codec.decode(answer.tolist()) == "\n{}"
    whole = np.concatenate([codec.prompt([USER]), answer])
    text = codec.tokenizer.decode(whole.tolist(), skip_special_tokens=False)
    assert text.endswith("<|im_start|>assistant\n{}<|im_end|>")


def test_the_generation_prompt_is_what_every_prompt_ends_with(toy_folder):
    codec = Codec.from_pretrained(toy_folder)
    tail = codec.generation_prompt()
    assert codec.decode(tail.tolist()).strip() == "assistant"
    for text in ("x", "the light", "7"):
        assert codec.prompt(text)[-len(tail) :].tolist() == tail.tolist()


def test_a_thinking_block_in_the_generation_prompt_is_not_part_of_the_answer(tokenizer, tmp_path):
    template = (
        TURNS + "\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
    )
    codec = with_template(tokenizer, template, tmp_path)
    answer = codec.answer(Trace((USER,), {"role": "assistant", "content": "on it"}))
    assert codec.decode(answer.tolist()) == "on it"
    assert answer[-1] == codec.end_id
    with pytest.raises(TraceError, match="generation prompt"):
        codec.answer(Trace((USER,), {"role": "assistant", "tool_calls": [CALL]}))


def test_a_template_without_tool_calls_is_noticed(tokenizer, tmp_path):
    template = (
        TURNS + "\n{{ m.content or '' }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    codec = with_template(tokenizer, template, tmp_path)
    with pytest.raises(TraceError, match="does not write tool calls"):
        codec.answer(Trace((USER,), {"role": "assistant", "tool_calls": [CALL]}))


def test_the_turn_ends_at_the_first_end_id(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [tokenizer.convert_tokens_to_ids(t) for t in
                                     ("<|im_end|>", "<|endoftext|>")]})
    )  # fmt: skip
    template = (
        TURNS + "\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
        "<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"
    )
    (tmp_path / "chat_template.jinja").write_text(template)
    codec = Codec.from_pretrained(tmp_path)
    assert codec.end_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


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


def test_a_tokenizer_in_memory_makes_the_same_codec(codec, tokenizer, toy_folder):
    from transformers import GenerationConfig

    made = Codec.from_tokenizer(tokenizer, GenerationConfig.from_pretrained(toy_folder))
    assert (made.fingerprint, made.eos_ids, made.end_id) == (
        codec.fingerprint,
        codec.eos_ids,
        codec.end_id,
    )
    assert Codec.from_tokenizer(tokenizer, GenerationConfig(eos_token_id=[3, 4])).eos_ids >= {3, 4}
    slow = copy.copy(tokenizer)
    slow.__class__ = type("Slow", (type(tokenizer),), {"is_fast": False})
    with pytest.raises(ModelError, match="Slow has no fast tokenizer"):
        Codec.from_tokenizer(slow)
