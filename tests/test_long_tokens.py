"""New tokens of several words in everything that reads or writes an answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tascel
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.decode.loop import decode
from tascel.decode.stop import Stopper
from tascel.draft.price import Price
from tascel.serve.tokens import chat_logprobs, text_logprobs
from tascel.speller import Speller
from tascel.token_bytes import TokenBytes
from tascel.tools import CallFormat
from tascel.types import Request, Trace

LONG = (" the lamp in", '{"name": "', '"}', "é🙂 the", "li", "ne\nSTOP here", "<tool_call>\n")
USER = {"role": "user", "content": "turn on the lamp in the hall"}


@pytest.fixture(scope="module")
def base(tokenizer):
    return Codec.from_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def extended(tokenizer, base):
    """With tokens that hold stop strings, whole characters, and parts of some."""
    runs = [base.output(text).tolist() for text in LONG]
    face = base.output("é🙂").tolist()
    runs += [base.output("on").tolist() + face[:1], face[1:4], face[3:]]
    return Vocabulary(tokenizer).extend([run for run in runs if len(run) > 1])[0]


@pytest.fixture(scope="module")
def codec(extended):
    return Codec.from_tokenizer(extended)


TEXTS = st.lists(
    st.sampled_from([*LONG, "é🙂", "on", "STOP", " ", "\ufffd", "the", "x", "line", "é"]),
    max_size=8,
).map("".join)


@given(text=TEXTS, seed=st.integers(0, 2**32))
def test_text_is_streamed_as_it_is_decoded(codec, text, seed):
    ids = codec.output(text).tolist()
    stream = codec.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == text
    wild = np.random.default_rng(seed).integers(0, codec.vocab_size, 12).tolist()
    stream = codec.stream()
    assert "".join([*map(stream.push, wild), stream.flush()]) == codec.decode(wild)


def test_whole_characters_are_shown_before_the_open_one_is_closed(codec, base):
    face = base.output("é🙂").tolist()
    ids = codec.output("oné🙂").tolist()
    assert len(ids) < 2 + len(face)
    stream = codec.stream()
    assert stream.push(ids[0]) == "on"


@given(
    text=TEXTS, stop=st.lists(st.sampled_from(["STOP", "amp in the", "}", "\n", "é"]), max_size=2)
)
def test_stop_strings_begin_and_end_inside_tokens(codec, text, stop):
    stopper = Stopper(codec.eos_ids, stop, 1000, codec.stream())
    shown = ""
    for id_ in [*codec.output(text).tolist(), codec.end_id]:
        shown += stopper.push(id_)
        if stopper.reason:
            break
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    assert shown == (text[: min(ends)[1]] if ends else text)


@given(text=TEXTS)
def test_logprobs_name_the_bytes_of_a_token(codec, fake_engine, text):
    answer = [*codec.output(text).tolist(), codec.end_id]

    class Told(fake_engine):
        """Writes the answer."""

        def logits_after(self, tokens):
            row = np.zeros(self.vocab_size, np.float32)
            row[answer[len(tokens) - 2]] = 9
            return row

    request = Request("r", np.array([1, 2], np.int32), max_tokens=200, logprobs=2)
    engine = Told(codec.vocab_size, eos_ids=codec.eos_ids, context_limit=400)
    chunks = [*decode(engine, None, request, Price.free(), codec.stream())]
    assert [chunk.token for chunk in chunks] == answer
    bytes_of = TokenBytes(codec.tokenizer)
    content = chat_logprobs(chunks, bytes_of, codec.eos_ids).content
    assert content is not None
    assert b"".join(bytes(entry.bytes or ()) for entry in content).decode() == text
    offsets = text_logprobs(chunks, bytes_of, codec.eos_ids, 0).text_offset
    assert offsets == sorted(offsets)


def test_a_prompts_words_are_spelled_in_base_ids(codec, base):
    prompt = base.prompt('put "the lamp in" the line on')
    np.testing.assert_array_equal(codec.prompt('put "the lamp in" the line on'), prompt)
    one, other = Speller(base.tokenizer).words(prompt), Speller(codec.tokenizer).words(prompt)
    for field, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(field, same)


def test_tool_calls_are_found_in_long_tokens(codec, base):
    assert CallFormat.of(codec) == CallFormat.of(base)
    call = {"type": "function", "function": {"name": "on", "arguments": "{}"}}
    trace = Trace((USER,), {"role": "assistant", "content": None, "tool_calls": [call]})
    long, short = base.answer(trace), codec.answer(trace)
    np.testing.assert_array_equal(codec.new_tokens.expand(short), long)
    assert short[-1] == codec.end_id


def test_drafts_of_long_tokens_change_no_answer(toy, codec, extended, tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    toy("Llama", eos_token_id=codec.end_id, vocab_size=codec.vocab_size).save_pretrained(folder)
    extended.save_pretrained(folder)
    plain = tascel.load(None, model=folder)
    prompts = [f"light {i}" for i in range(8)]
    answers = [plain.generate(prompt, max_tokens=40) for prompt in prompts]
    new = codec.new_tokens.runs.keys()
    assert any(new & set(answer.tokens) for answer in answers)
    traces = [
        Trace(({"role": "user", "content": prompt},), {"role": "assistant", "content": answer.text})
        for prompt, answer in zip(prompts, answers, strict=True)
        for _ in range(3)
    ]
    tascel.build(traces, folder, tmp_path / "bundle")
    drafted = tascel.load(tmp_path / "bundle", model=folder)
    drafted.price = Price.from_points({1: 1.0, 33: 1.6})
    for prompt, answer in zip(prompts, answers, strict=True):
        again = drafted.generate(prompt, max_tokens=40)
        assert (again.tokens, again.text) == (answer.tokens, answer.text)
