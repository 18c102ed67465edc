"""Reader tokens beside writer tokens: by the bytes that both write."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tascel.codec import Codec
from tascel.engines.hf.bridge.align import Aligner, Spans, cover
from tascel.new_tokens import NewTokens

EOS = "</s>"
texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.text("aä🙂 the\n", max_size=30)


def byte_level(*merges: tuple[str, str]) -> Tokenizer:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(m) for m in merges)]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[*merges])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS, special=True, normalized=False)])
    return tokenizer


def sentence_piece() -> Tokenizer:
    """BPE as Llama 2's: a space before every text, bytes for what is not in the vocabulary."""
    vocab = {"<unk>": 0, "<s>": 1}
    vocab |= {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    vocab |= {piece: 258 + at for at, piece in enumerate(["▁", *"abcdefgh", "▁a", "▁ab"])}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab, merges=[("▁", "a"), ("▁a", "b")], unk_token="<unk>",
            byte_fallback=True, fuse_unk=True,
        )
    )  # fmt: skip
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    tokenizer.add_special_tokens([AddedToken("<s>", special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT's: lower case, no accents, a token before and one behind."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "lam", "##p", "##s", "cafe", "!"]
    tokenizer = Tokenizer(
        models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


WRITER = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
CODEC = Codec(WRITER, None, [WRITER.token_to_id(EOS)])


def shared(reading: Any) -> list[list[int]]:
    """By writer token the places of the reader's."""
    first, many, which = reading.cover
    pairs = zip(first, many, strict=True)
    return [which[at : at + count].tolist() for at, count in pairs]


def prompt(text: str, codec: Codec = CODEC) -> Any:
    return np.array(codec.tokenizer.encode(text).ids, np.int32)


@given(text=texts)
def test_equal_tokenizers_cover_each_token_with_itself(text: str) -> None:
    aligner = Aligner(CODEC, byte_level(("t", "h"), ("th", "e"), ("Ġ", "the")), 1000)
    ids = prompt(f"{EOS}{text}")
    reading = aligner(ids)
    assert aligner.same
    assert reading.ids == ids.tolist()
    assert shared(reading) == [[at] for at in range(len(ids))]
    states = torch.randn(len(ids), 4)
    mean, covered = reading.cover.mean(states)
    assert torch.equal(mean, states)
    assert covered.all()


@given(text=texts)
def test_the_same_cuts_under_other_ids_cover_each_token_with_itself_too(text: str) -> None:
    other = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
    other.add_tokens(["never written"])  # another vocabulary, so the text is read anew
    aligner = Aligner(CODEC, other, 1000)
    ids = prompt(text)
    assert not aligner.same
    assert shared(aligner(ids)) == [[at] for at in range(len(ids))]


@given(text=texts, other=st.sampled_from([byte_level(("a", "Ġ")), sentence_piece()]))
def test_tokens_share_bytes(text: str, other: Tokenizer) -> None:
    """What is found by counting bytes one by one."""
    aligner = Aligner(CODEC, other, 1000)
    ids = prompt(text)
    reading = aligner(ids)
    spans = aligner.spans(text, other.encode(text))
    at = np.cumsum([0, *(len(WRITER.id_to_token(id_)) for id_ in ids.tolist())])
    owner = [
        {i for i in range(len(reading.ids)) if spans.starts[i] <= byte < spans.ends[i]}
        for byte in range(len(text.encode()))
    ]
    wanted = [sorted(set().union(*owner[start:end])) for start, end in pairwise(at)]
    assert shared(reading) == wanted
    assert all(wanted)  # no byte is lost


def test_a_split_emoji_is_covered_part_by_part() -> None:
    other = byte_level()
    emoji = "🙂".encode()
    pair = byte_level((_spelled(emoji[0]), _spelled(emoji[1])))
    codec = Codec(pair, None, [pair.token_to_id(EOS)])
    assert shared(Aligner(codec, other, 99)(prompt("🙂", codec))) == [[0, 1], [2], [3]]


def _spelled(byte: int) -> str:
    (piece,) = {byte_level().id_to_token(id_) for id_ in byte_level().encode("🙂").ids} & {
        byte_level().id_to_token(byte_level().encode("🙂").ids[[*"🙂".encode()].index(byte)])
    }
    return str(piece)


def test_words_that_a_reader_writes_otherwise_are_found_by_their_characters() -> None:
    aligner = Aligner(CODEC, word_piece(), 99)
    reading = aligner(prompt("THE Lamps, Café 🙂!"))
    tokens = [aligner._tokenizer.id_to_token(id_) for id_ in reading.ids]
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    pieces = [WRITER.decode([id_]) for id_ in prompt("THE Lamps, Café 🙂!").tolist()]
    found = list(zip(pieces, shared(reading), strict=True))
    assert found[0] == ("T", [1])
    assert found[3] == (" ", [])  # the reader does not see spaces
    assert [tokens[at[0]] for piece, at in found if piece in "Lmps" and at] == [
        "lam", "lam", "##p", "##s"
    ]  # fmt: skip
    accent = [tokens[at[0]] for _, at in found[-8:-6]]
    assert accent == ["cafe", "cafe"]  # both bytes of é


def test_what_lies_behind_the_readers_context_is_covered_by_nothing() -> None:
    ids = prompt("abcdefgh")
    for other in (WRITER, byte_level()):
        reading = Aligner(CODEC, other, 3)(ids)
        assert len(reading.ids) == 3
        assert shared(reading) == [[0], [1], [2], [], [], [], [], []]
        mean, covered = reading.cover.mean(torch.ones(3, 2))
        assert covered.tolist() == [True] * 3 + [False] * 5
        assert mean.sum() == 6


def test_the_writers_specials_write_nothing_for_another_reader() -> None:
    aligner = Aligner(CODEC, byte_level(), 99)
    reading = aligner(prompt(f"{EOS}ab{EOS}"))
    assert len(reading.ids) == 2
    assert shared(reading) == [[], [0], [1], []]


def test_means_are_over_all_that_cover_a_token() -> None:
    spans = Spans(np.array([0, 4, 4, 6]), np.array([4, 4, 6, 9]))
    parts = Spans(np.array([0, 0, 2, 5]), np.array([0, 2, 5, 9]))
    states = torch.tensor([[100.0], [1.0], [2.0], [4.0]])
    mean, covered = cover(spans, parts).mean(states)
    assert mean.flatten().tolist() == [1.5, 0.0, 3.0, 4.0]
    assert covered.tolist() == [True, False, True, True]


def test_new_tokens_do_not_make_a_writer_another() -> None:
    richer = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
    richer.add_tokens(["ab"])
    run = (richer.token_to_id("a"), richer.token_to_id("b"))
    new = NewTokens({richer.token_to_id("ab"): run})
    codec = Codec(richer, None, [richer.token_to_id(EOS)], new_tokens=new)
    assert Aligner(codec, WRITER, 99).same
    assert not Aligner(CODEC, byte_level(("t", "h"), ("th", "e"), ("e", "the")), 99).same


def test_ids_that_a_reader_lacks_are_read_as_their_text() -> None:
    richer = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
    richer.add_tokens(["ab"])
    a, b, ab = (richer.token_to_id(piece) for piece in ("a", "b", "ab"))
    codec = Codec(richer, None, [richer.token_to_id(EOS)], new_tokens=NewTokens({ab: (a, b)}))
    assert Aligner(codec, richer, 99).same
    ids = np.array([a, ab, b, ab + 1], np.int32)
    reading = Aligner(codec, WRITER, 99)(ids)
    assert reading.ids == [a, a, b, b]
    assert shared(reading) == [[0], [1, 2], [3], []]


@given(st.lists(st.integers(0, 258), max_size=12))
def test_ids_that_are_no_text_keep_their_places(ids: list[int]) -> None:
    reading = Aligner(CODEC, byte_level(), 99)(np.array(ids, np.int32))
    empty = [id_ == WRITER.token_to_id(EOS) for id_ in ids]
    assert [not at for at in shared(reading)] == empty


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_to_read(text: str) -> None:
    reading = Aligner(CODEC, word_piece(), 99)(prompt(text))
    mean, covered = reading.cover.mean(torch.ones(len(reading.ids), 3))
    assert mean.shape == (len(prompt(text)), 3)
    assert not covered.any()
