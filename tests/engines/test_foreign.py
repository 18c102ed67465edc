"""A draft with another vocabulary: what it would say, in the target's tokens."""

from __future__ import annotations

import string
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tascel.codec import Codec
from tascel.decode.loop import Loop, complete, decode
from tascel.draft.base import Proposal, Stem
from tascel.draft.price import Price
from tascel.engines.hf.draft_model import NeuralDraft
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.foreign import ForeignDraft, Spelling, same_vocabulary
from tascel.errors import ModelError
from tascel.new_tokens import NewTokens
from tascel.types import SOURCES, Request, Sampling

FREE = Price([1], np.full((1, 64), 1e15))
PRICE = Price.from_points({1: 10.0, 64: 14.0})
OWN = Price.from_points({1: 0.5, 64: 0.6})
END = "<end>"
WORDS = (" the", " lamp", " lamps", "tu", "turn", " on", "größe", "🙂")


def byte_level(words=WORDS, shift=0, **parts):
    """A byte-level BPE that joins these words from the left; ids are shifted by so many unused."""
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = []
    for word in words:
        ((letters, _),) = spell.pre_tokenize_str(word)
        for end in range(1, len(letters)):
            pair = letters[:end], letters[end]
            if pair not in merges:
                merges.append(pair)
                pieces.append("".join(pair))
    vocab = {f"<unused{i}>": i for i in range(shift)}
    vocab |= {piece: shift + at for at, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return codec_of(tokenizer)


def spaced(words=(" the", " lamp", "turn")):
    """As SentencePiece: a space before every text, and bytes of what is no piece."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *string.ascii_letters]
    merges = []
    for word in words:
        word = word.replace(" ", "▁")
        for end in range(1, len(word)):
            pair = word[:end], word[end]
            merges.append(pair)
            pieces.append("".join(pair))
    vocab = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return codec_of(tokenizer)


def codec_of(tokenizer):
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return Codec.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END))


TARGET = byte_level()
OTHERS = {
    "few words": byte_level(("turn on", "lam")),
    "bytes": byte_level(()),
    "other ids": byte_level(shift=7),
    "spaced": spaced(),
}


class Scribe:
    """Stands for a model that knows the answer, in its own ids. It says at most `most` tokens."""

    def __init__(self, codec, answer, most=6, ends=True):
        self.codec, self.answer, self.most, self.ends = codec, answer, most, ends
        self.engine = type("Engine", (), {"eos_ids": codec.eos_ids})
        self.spent, self.text, self.asked = 0.0, [], []

    def open(self, request):
        self.text = self.prompt = request.prompt.tolist()
        return self

    @property
    def inner(self):
        return self

    def retell(self, text):
        assert text[: len(self.prompt)] == self.prompt
        self.text = text

    def propose_many(self, sessions, rooms, price, pending, rows_of_pass, stems):
        self.asked.append((rooms, rows_of_pass, stems))
        return [session.chain(room) for session, room in zip(sessions, rooms, strict=True)]

    def chain(self, room):
        whole = Spelling(self.codec).ids(self.answer)
        if self.ends:
            whole.append(self.codec.end_id)
        written = self.text[len(self.prompt) :]
        known = whole[len(written) :] if whole[: len(written)] == written else []
        chain = Proposal.chain(known[: min(room, self.most)])
        trust = (0.9 ** np.arange(1, len(chain) + 1)).astype(np.float32)
        return Proposal(chain.tokens, chain.parents, trust, chain.source)

    def close(self):
        self.prompt = None


def opened(own, answer, target=TARGET, written="", **settings):
    draft = ForeignDraft(Scribe(own, answer, **settings), own, target)
    session = draft.open(Request("r", target.output("prompt")))
    session.accept(target.output(written).tolist(), Proposal.nothing(), 0)
    return session


@pytest.mark.parametrize("own", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("written", ["", "tu", "turn on", "turn on the", "turn on the lamps"])
def test_what_it_says_is_what_the_target_would_write(own, written):
    answer = "turn on the lamps, größe 🙂 12"
    after = TARGET.output(answer).tolist()[len(TARGET.output(written)) :]
    if written == "tu":
        after = []  # alone, where the whole answer has "turn" as one token
    found = opened(own, answer, written=written, most=99).propose(99, FREE)
    assert found.tokens.tolist() == after
    assert (found.source == SOURCES.index("neural")).all()
    assert found.is_chain


def test_the_last_token_is_withheld_unless_the_answer_ends():
    answer = "turn on the lamps"
    ids = TARGET.output(answer).tolist()
    own = OTHERS["bytes"]
    said = {
        most: opened(own, answer, most=most).propose(99, FREE).tokens.tolist()
        for most in range(len(answer) + 2)
    }
    assert said[len(answer) + 1] == ids
    for most, found in said.items():
        assert found == ids[: len(found)]
        shown = len("".join(TARGET.decode([id_]) for id_ in found))
        assert shown < most or not found
    assert said[len(answer)] == ids[:-1]  # " lamps" may yet become another word
    assert said[len("turn on the lamp")] == ids[:-1]


def test_trust_is_that_of_the_last_byte():
    found = opened(OTHERS["bytes"], "turn on the", most=99).propose(99, FREE)
    assert TARGET.decode(found.tokens.tolist()) == "turn on the"
    assert found.trust == pytest.approx([0.9**4, 0.9**7, 0.9**11])


def test_the_room_is_the_target_s():
    for room in (1, 2):
        session = opened(OTHERS["few words"], "turn on the", most=99)
        assert len(session.propose(room, FREE)) == room


def test_nothing_is_said_inside_a_character():
    session = opened(OTHERS["bytes"], "a日b", most=99)
    ids = TARGET.output("a日b").tolist()
    assert len(ids) == 5
    for at, token in enumerate(ids[:-1], start=1):
        session.accept([token], Proposal.nothing(), 0)
        rest = session.propose(9, FREE).tokens.tolist()
        assert rest == ([] if at in (2, 3) else ids[at:])


def test_a_character_that_is_only_begun_is_cut_off():
    session = opened(OTHERS["bytes"], "ab日b", most=3)  # of three bytes only the first
    assert session.propose(9, FREE).tokens.tolist() == TARGET.output("a").tolist()


def test_where_texts_disagree_nothing_is_said():
    lower = byte_level(normalizer=normalizers.Lowercase())
    assert len(opened(lower, "turn on the lamp", written="turn", most=99).propose(9, FREE)) > 0
    assert len(opened(lower, "turn on the lamp", written="TURN", most=99).propose(9, FREE)) == 0


def test_specials_are_never_said():
    ids = TARGET.output("turn on").tolist()
    own = byte_level(())
    own.tokenizer.add_special_tokens([AddedToken("<call>", special=True)])
    own = Codec.from_tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=own.tokenizer, eos_token=END)
    )
    for said, expected in ((f"turn on{END}!", ids), ("turn on<call>!", ids[:-1])):
        assert opened(own, said, most=99).propose(9, FREE).tokens.tolist() == expected
    target = byte_level(("<call>",))
    target.tokenizer.add_special_tokens([AddedToken("<call>", special=True)])
    found = opened(OTHERS["bytes"], "ab<call>ab", target, most=99).propose(9, FREE)
    assert found.tokens.tolist() == target.output("ab").tolist()


def test_a_stem_is_read_before_it_goes_on():
    answer = "turn on the lamps"
    ids = TARGET.output(answer).tolist()
    session = opened(OTHERS["few words"], answer, most=99)
    stem = Stem(tuple(ids[:2]), 0.7, 3, 1.5, 0.6)
    found = session.propose(9, FREE, stem=stem)
    assert found.tokens.tolist() == ids[2:]
    assert session.inner.asked[-1][2] == [Stem((), 0.7, 3, 1.5, 0.6)]
    assert len(session.propose(3, FREE, stem=stem)) <= 1
    assert session.propose(9, FREE).tokens.tolist() == ids  # and nothing stays of it


def test_a_text_begins_as_the_tokenizer_begins_texts():
    framed = byte_level(
        post_processor=TemplateProcessing(
            single=f"{END} $A {END}", special_tokens=[(END, TARGET.end_id)]
        )
    )
    end = framed.tokenizer.token_to_id(END)
    assert Spelling(framed).beginning("the") == [end, *framed.output("the").tolist()]
    assert Spelling(TARGET).beginning("the") == TARGET.output("the").tolist()


def test_what_vocabularies_are_the_same():
    assert same_vocabulary(TARGET, byte_level())
    assert not any(same_vocabulary(TARGET, other) for name, other in OTHERS.items())
    more = byte_level()
    more.tokenizer.add_tokens(["<extra>"])
    assert same_vocabulary(TARGET, more)
    assert same_vocabulary(more, TARGET)


def test_new_tokens_are_refused():
    target = byte_level()
    target.new_tokens = NewTokens({300: (1, 2)})
    with pytest.raises(ModelError, match="new tokens"):
        ForeignDraft(Scribe(TARGET, ""), TARGET, target)


@given(st.text(max_size=12), st.text(max_size=12), st.sampled_from([*OTHERS]))
def test_what_is_proposed_spells_what_was_said(written, rest, name):
    """Any text: the proposal continues the answer's bytes by a beginning of the draft's."""
    session = opened(OTHERS[name], written + rest, written=written, most=99, ends=False)
    found = session.propose(99, FREE)
    said = b"".join(map(Spelling(TARGET).bytes_of, found.tokens.tolist()))
    assert rest.encode().startswith(said)
    assert not set(found.tokens.tolist()) & TARGET.eos_ids
    assert all(b <= a for a, b in pairwise(found.trust.tolist()))


def printable(toy, codec, **settings):
    """A toy that writes printable text."""
    model = toy("Llama", vocab_size=codec.vocab_size, eos_token_id=codec.end_id, **settings)
    spelling = Spelling(codec)
    visible = set(range(32, 127))
    mute = [
        id_
        for id_ in range(codec.vocab_size)
        if id_ in spelling.specials or not {*spelling.bytes_of(id_)} <= visible
    ]
    with torch.no_grad():
        model.lm_head.weight[mute] = 0.0
    return model


@pytest.fixture(scope="module")
def engine(toy):
    return HfEngine(printable(toy, TARGET))


@pytest.mark.parametrize("name", OTHERS)
def test_answers_are_those_of_plain_decoding(toy, engine, name):
    own = OTHERS[name]
    inner = NeuralDraft(printable(toy, own, seed=3), OWN)
    draft = ForeignDraft(inner, own, TARGET)
    requests = [
        Request(f"r{at}", TARGET.output(text), sampling, max_tokens=12)
        for at, (text, sampling) in enumerate(
            [("turn on", Sampling()), ("the größe 🙂", Sampling(temperature=0.8, seed=1))]
        )
    ]
    plain = [complete(decode(engine, None, r, PRICE, TARGET.stream())) for r in requests]
    for request, expected in zip(requests, plain, strict=True):
        done = complete(decode(engine, draft, request, PRICE, TARGET.stream()))
        assert done.tokens == expected.tokens
        assert done.stats.offered["neural"] > 0
    loop = Loop(engine, draft, PRICE)
    answers = [loop.start(request, TARGET.stream()) for request in requests]
    while alive := [answer for answer in answers if not answer.done]:
        loop.step(alive)
    assert [tuple(answer.written) for answer in answers] == [p.tokens for p in plain]
    assert draft.spent == inner.spent > 0
    for answer in answers:
        answer.close(engine)
    draft.forget()
    assert inner.engine.fits(inner.engine.cache_tokens), "a row was left open"


@pytest.mark.parametrize("name", OTHERS)
def test_a_draft_that_says_the_same_saves_passes(engine, name):
    request = Request("r", TARGET.output("turn on"), max_tokens=24)
    plain = complete(decode(engine, None, request, PRICE, TARGET.stream()))
    draft = ForeignDraft(Scribe(OTHERS[name], plain.text), OTHERS[name], TARGET)
    done = complete(decode(engine, draft, request, PRICE, TARGET.stream()))
    assert done.tokens == plain.tokens
    assert done.stats.steps < plain.stats.steps


def test_a_row_stays_in_step_with_the_answer(toy):
    own = OTHERS["few words"]
    draft = ForeignDraft(NeuralDraft(printable(toy, own, seed=3), OWN), own, TARGET)
    session = draft.open(Request("r", TARGET.output("turn on"), max_tokens=40))
    for word in (" the", " lamp", "s", ", tur", "n"):
        session.propose(6, FREE)
        session.accept(TARGET.output(word).tolist(), Proposal.nothing(), 0)
        fresh = draft.open(Request("f", TARGET.output("turn on"), max_tokens=40))
        fresh.accept(session.written, Proposal.nothing(), 0)
        assert session.propose(6, FREE).tokens.tolist() == fresh.propose(6, FREE).tokens.tolist()
        fresh.close()
    session.close()
