"""Words in both spellings, whatever tokenizer wrote the prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer, UnigramTrainer

from tascel.draft.kernels.copying import TRAITS
from tascel.draft.reader import Reader
from tascel.speller import DIGIT, SPACED, UPPER, Speller

TEXTS = [
    'Set "lamp" to 25 in the Paris office, then the lamp in Zürich.',
    '{"city": "Paris", "lamp": "on", "count": 25}',
    "find /usr/bin -name '*.py' -size +10k | sort; a café in 東京",
]
SPECIAL = "<|im_end|>"


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=320, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def sentencepiece() -> Tokenizer:
    """BPE over whole characters, spaces as ▁, rare characters as bytes."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(TEXTS * 3, BpeTrainer(vocab_size=90, show_progress=False))
    merges = [tuple(pair.split(" ")) for pair in merged(learner)]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learner.get_vocab()]
    pieces = [p for p in pieces if p not in "ü東京é"]
    vocab = {piece: at for at, piece in enumerate(pieces)}
    known = [pair for pair in merges if {*pair, "".join(pair)} <= vocab.keys()]
    model = models.BPE(vocab, known, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(["<unk>"])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def merged(tokenizer: Tokenizer) -> list[str]:
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=110, show_progress=False, unk_token="<unk>", special_tokens=["<unk>"]
    )
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    return tokenizer


FAMILIES = {"byte-level": byte_level, "sentencepiece": sentencepiece, "unigram": unigram}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Tokenizer, Speller]:
    tokenizer = FAMILIES[request.param]()
    tokenizer.add_special_tokens([AddedToken(SPECIAL, special=True, normalized=False)])
    return tokenizer, Speller(tokenizer)


def ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


def spellings(family: tuple[Tokenizer, Speller], text: str) -> list[tuple[list[int], list[int]]]:
    """Each word of a text as its prompt spells it, and the other way."""
    tokenizer, speller = family
    prompt = ids(tokenizer, text)
    spelled = speller.words(prompt)
    half = len(spelled.starts) // 2
    both = []
    for w in range(half):
        assert spelled.where[w] == spelled.where[half + w]
        assert spelled.after[w] == spelled.after[half + w]
        at, other = int(spelled.starts[half + w]), []
        while at >= len(prompt):
            other.append(int(spelled.token[at]))
            at = int(spelled.follow[at])
        assert at == (spelled.after[w] if spelled.after[w] < len(prompt) else -1)
        both.append((prompt[spelled.where[w] : spelled.after[w]].tolist(), other))
    return both


def words(family: tuple[Tokenizer, Speller], text: str) -> list[tuple[str, str]]:
    """The same as text."""
    both = spellings(family, text)
    return [(written(family[1], one), written(family[1], other)) for one, other in both]


def written(speller: Speller, tokens: list[int]) -> str:
    """As tokens write it, spaces and all: `decode` may drop the first."""
    text = "".join(speller.texts[token] for token in tokens)
    return text.encode(errors="surrogateescape").decode(errors="replace")


def test_each_word_is_spelled_with_a_space_and_without(family: Any) -> None:
    found = words(family, 'to "Paris" the lamp')
    assert (" the", "the") in found
    assert ("Paris", " Paris") in found
    for one, other in found:
        assert one[0].isspace() != other[0].isspace()


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "",
        " ",
        "\n\n",
        "x",
        "  two  spaces\tand\ttabs\n",
        "3pm 25.50 1,000 v2 A4 €9",
        "it's o'clock-ish; e.g. a_b/c.d, (x) [y] <z> #1 @home ~me $5 100% *.py",
        "Größe naïve Ωmega Łódź Привет 東京 שלום",
        "🙂 flags 🇩🇪 and e\u0301",
        "a\ufffdb",
    ],
)
def test_both_spellings_say_the_same(family: Any, text: str) -> None:
    for one, other in words(family, text):
        assert one.strip() == other.strip()
        assert one.strip()


def test_words_beyond_ascii_stay_whole(family: Any) -> None:
    found = [one.strip() for one, _ in words(family, "the café in Zürich")]
    assert found == ["the", "café", "in", "Zürich"]


@pytest.mark.parametrize("learn", [byte_level, sentencepiece])
def test_so_do_those_that_are_written_in_bytes(learn: Any) -> None:
    tokenizer = learn()
    found = words((tokenizer, Speller(tokenizer)), "the Größe of Łódź")
    assert [one.strip() for one, _ in found] == ["the", "Größe", "of", "Łódź"]
    assert all(one.strip() == other.strip() for one, other in found)


def test_digits_and_signs_begin_words(family: Any) -> None:
    found = [one.strip() for one, _ in words(family, "at 25 -name / usr (in) *")]
    assert found == ["at", "25", "-", "name", "/", "usr", "in", "*"]


def test_looks(family: Any) -> None:
    tokenizer, speller = family
    for token, text in enumerate(speller.texts):
        bare = text.lstrip()
        assert bool(speller.looks[token] & SPACED) == (text != bare)
        assert bool(speller.looks[token] & DIGIT) == bare[:1].isdigit()
        assert bool(speller.looks[token] & UPPER) == bare[:1].isupper()
    assert len(speller.texts) == len(speller.looks) == tokenizer.get_vocab_size()


def test_special_tokens_never_begin_a_copy(family: Any) -> None:
    tokenizer, speller = family
    special = tokenizer.token_to_id(SPECIAL)
    prompt = ids(tokenizer, f"lamp{SPECIAL}on {SPECIAL}{SPECIAL}Paris")
    assert (prompt == special).sum() == 3
    spelled = speller.words(prompt)
    assert special not in spelled.token[spelled.starts]
    assert special not in spelled.token[len(prompt) :]


@given(prompt=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 400), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ids_are_spelled_within_bounds(family: Any, prompt: list[int]) -> None:
    tokenizer, speller = family
    asked = np.array(prompt, np.int32)
    spelled, n, size = speller.words(asked), len(prompt), len(speller.texts)
    assert spelled.token[:n].tolist() == prompt
    assert spelled.follow[:n].tolist() == [*range(1, n), -1][:n]
    assert len(spelled.token) == len(spelled.follow)
    assert len(spelled.starts) == len(spelled.where) == len(spelled.after)
    assert ((spelled.follow >= -1) & (spelled.follow < len(spelled.token))).all()
    assert ((spelled.starts >= 0) & (spelled.starts < len(spelled.token))).all()
    assert ((spelled.where >= 0) & (spelled.where < spelled.after) & (spelled.after <= n)).all()
    begins = spelled.token[spelled.starts]
    assert ((begins >= 0) & (begins < size)).all()
    reader = Reader(tokenizer)
    traits = reader.words(asked).traits
    assert traits.shape == (len(spelled.starts), TRAITS)
    assert len(reader.about(asked)) <= 2 * n


def test_spelling_is_repeatable_and_remembered(family: Any, monkeypatch: Any) -> None:
    tokenizer, speller = family
    prompt = ids(tokenizer, TEXTS[0])
    before = [part.tolist() for part in speller.words(prompt)]
    monkeypatch.setattr("tascel.speller._KEPT", 1)  # forgotten every time
    assert [part.tolist() for part in Speller(tokenizer).words(prompt)] == before
    assert [part.tolist() for part in speller.words(prompt)] == before


def test_only_the_last_words_of_a_long_prompt(family: Any, monkeypatch: Any) -> None:
    tokenizer, speller = family
    monkeypatch.setattr("tascel.speller._MOST", 3)
    prompt = ids(tokenizer, "one two three lamp in Paris")
    assert len(speller.words(prompt).starts) == 6
    assert [one.strip() for one, _ in words(family, "one two three lamp in Paris")] == [
        "lamp", "in", "Paris",
    ]  # fmt: skip


class Between:
    """A tokenizer that lets another thread in while it spells."""

    def __init__(self, tokenizer: Tokenizer, *others: Callable[[], object]) -> None:
        self._tokenizer, self._others = tokenizer, list(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, *texts: Any, **how: Any) -> Any:
        others, self._others = self._others, []
        for other in others:
            other()
        return self._tokenizer.encode_batch_fast(*texts, **how)


def test_two_threads_spell_with_one_speller(
    family: tuple[Tokenizer, Speller], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, speller = family[0], Speller(family[0])
    prompt = ids(tokenizer, "the lamp in Paris")
    expected = speller.words(prompt).token.tolist()
    speller._other.clear()
    speller.words(ids(tokenizer, "the lamp"))
    monkeypatch.setattr("tascel.speller._KEPT", len(speller._other))
    speller._tokenizer = Between(  # type: ignore[assignment]
        tokenizer,
        lambda: speller.words(ids(tokenizer, "cafe office count")),
        lambda: speller.words(ids(tokenizer, "name size")),  # now too many are known
    )
    assert speller.words(prompt).token.tolist() == expected
