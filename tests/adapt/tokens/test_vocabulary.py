import json
import random

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.errors import ModelError

MANY = 100_000


def runs_of(backend, texts, count, seed=0, longest=6):
    """Random runs of base ids as `texts` write them."""
    chance = random.Random(seed)
    found = dict[tuple[int, ...], None]()
    encoded = [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]
    while len(found) < count:
        ids = chance.choice(encoded)
        at, size = chance.randrange(len(ids)), chance.randint(2, longest)
        if len(run := tuple(ids[at : at + size])) > 1:
            found[run] = None
    return list(found)


def texts_about(tokens, texts, count, seed=0):
    """Strings in which the encoder might meet new tokens: whole, cut, doubled, in other words."""
    chance = random.Random(seed)
    odd = ["", " ", "  ", "\n", "\t", "'s", "a", "9", ".", "▁", "é", "e\u0301", "名", "🙂", "\x00"]
    odd += ["<|im_end|>", "</s>", "<0x41>", "\u00a0", "ﬁ", "\ufffd"]

    def part():
        kind = chance.random()
        if kind < 0.5:
            return chance.choice(tokens)
        if kind < 0.65:
            token = chance.choice(tokens)
            return token[chance.randrange(len(token) + 1) :]
        if kind < 0.75:
            return chance.choice(odd)
        if kind < 0.8:
            return chr(chance.choice((chance.randrange(0x250), chance.randrange(0x3000, 0x9FFF))))
        line = chance.choice(texts)
        at = chance.randrange(len(line))
        return line[at : at + chance.randint(1, 12)]

    parts = [part() for _ in range(20_000)]
    return ["".join(chance.choices(parts, k=chance.randint(1, 4))) for _ in range(count)]


def ids_of(backend, texts):
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def test_prompts_keep_their_ids(family, lines, tmp_path):
    base, named = family
    vocabulary = Vocabulary(base)
    assert vocabulary.family == named
    texts = lines(1000, 2)
    runs = runs_of(base.backend_tokenizer, texts, 2000)
    taken = [run for run in runs if vocabulary.refuse(run) is None]
    assert len(taken) > 300
    extended, new = vocabulary.extend(taken)
    extended.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    written = [base.decode(run) for run in new.runs.values()]
    probes = texts_about(written, texts, MANY)
    before = ids_of(base.backend_tokenizer, probes)
    assert ids_of(again.backend_tokenizer, probes) == before
    some = slice(2000)  # through the whole of transformers, too
    assert again(probes[some])["input_ids"] == base(probes[some])["input_ids"]


def test_no_id_moves_and_new_ones_say_what_their_run_says(family, lines, tmp_path):
    base, _ = family
    vocabulary = Vocabulary(base)
    texts = lines(300, 3)
    runs = [
        run for run in runs_of(base.backend_tokenizer, texts, 800) if not vocabulary.refuse(run)
    ]
    extended, new = vocabulary.extend(runs)
    for _ in range(2):  # as it was saved, and as somebody else saves it again
        extended.save_pretrained(tmp_path)
        extended = AutoTokenizer.from_pretrained(tmp_path)
    was, now = base.get_vocab(), extended.get_vocab()
    assert was == {token: now[token] for token in was}
    assert sorted(new.runs) == [*range(1 + max(was.values()), 1 + max(now.values()))]
    assert extended.all_special_ids == base.all_special_ids
    before, after = Codec.from_tokenizer(base), Codec.from_tokenizer(extended)
    assert after.new_tokens == new
    assert (after.end_id, after.eos_ids) == (before.end_id, before.eos_ids)
    assert after.vocab_size == before.vocab_size + len(new)
    shorter = 0
    for text in texts:
        long, short = before.output(text), after.output(text)
        np.testing.assert_array_equal(new.expand(short), long)
        assert after.decode(short.tolist()) == before.decode(long.tolist())
        shorter += len(short) < len(long)
    assert shorter > 200


def forced(base, entry):
    """The tokenizer with an entry that `refuse` would not have let in."""
    spec = json.loads(base.backend_tokenizer.to_str())
    vocab = spec["model"]["vocab"]
    if isinstance(vocab, list):
        vocab.append([entry, min(score for _, score in vocab)])
    else:
        vocab[entry] = 1 + max(base.get_vocab().values())
    return Tokenizer.from_str(json.dumps(spec))


@pytest.mark.parametrize("name", ["Llama 3", "XLM-R"])
def test_what_the_encoder_would_write_is_refused(make, lines, name):
    """And would be written: the property above can fail."""
    base = make(name)
    backend, vocabulary = base.backend_tokenizer, Vocabulary(base)
    refused = [
        run
        for run in runs_of(backend, lines(500, 4), 1500)
        if vocabulary.refuse(run) == "the encoder would write it"
    ]
    assert refused
    written = 0
    for run in refused[:40]:
        entry = "".join(backend.id_to_token(id_) for id_ in run)  # as a base piece is spelled
        text = base.decode(run)
        id_ = max(base.get_vocab().values()) + 1
        written += id_ in forced(base, entry).encode(text, add_special_tokens=False).ids
    assert written > 20
    # what every text cuts in two is fine
    spanning = backend.encode(" light to", add_special_tokens=False).ids
    assert vocabulary.refuse(spanning) is None


def test_reasons_to_refuse(make):
    base = make("Llama 2")
    vocabulary = Vocabulary(base)
    light = base.backend_tokenizer.encode("light", add_special_tokens=False).ids
    assert vocabulary.refuse([*light, base.eos_token_id]) == "a special token inside"
    assert vocabulary.refuse([*light, 0]) == "a special token inside"  # unknown
    assert vocabulary.refuse([*light, 3 + 0xE4]) == "part of a character"
    letter = base.convert_tokens_to_ids("x")
    assert vocabulary.refuse([*light, letter]) == "llama.cpp's encoder would write it"
    spaced = base.backend_tokenizer.encode("light  to", add_special_tokens=False).ids
    assert vocabulary.refuse(spaced) is None
    assert vocabulary.refuse([*light, 10**6]) == "an id that the vocabulary lacks"
    merge = json.loads(base.backend_tokenizer.to_str())["model"]["merges"][0]
    pair = [base.convert_tokens_to_ids(piece) for piece in merge]
    assert vocabulary.refuse(pair) == "in the vocabulary already"
    with pytest.raises(ModelError, match="in the vocabulary already"):
        vocabulary.extend([pair])


def test_bytes_of_half_a_character_may_end_a_byte_level_token(make):
    base = make("Qwen2")
    ids = base.backend_tokenizer.encode("to 🙈🙉", add_special_tokens=False).ids
    assert len(ids) > 6
    runs = [ids[:-2], ids[-2:]]
    extended, new = Vocabulary(base).extend(runs)
    assert extended.decode([*new.runs]) == "to 🙈🙉"
    stream = Codec.from_tokenizer(extended).stream()
    first, second = new.runs
    assert [stream.push(first), stream.push(second), stream.flush()] == ["to 🙈", "🙉", ""]


def test_of_two_runs_with_the_same_text_the_first_is_taken(make):
    base = make("Qwen2")
    light = base.backend_tokenizer.encode(" lights to", add_special_tokens=False).ids
    letters = [base.convert_tokens_to_ids(letter) for letter in "Ġlights"]
    to = base.backend_tokenizer.encode(" to", add_special_tokens=False).ids
    _, new = Vocabulary(base).extend([light, [*letters, *to]])
    assert [*new.runs.values()] == [tuple(light)]


def test_more_new_tokens_on_top_are_refused(make):
    base = make("Qwen2")
    extended, _ = Vocabulary(base).extend([[40, 41]])
    with pytest.raises(ModelError, match="new tokens already"):
        Vocabulary(extended)


def test_other_families_are_refused_by_name(tokenizer):
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    pieces = {"[UNK]": 0, "a": 1, "##b": 2}
    for model in (models.WordPiece(pieces, unk_token="[UNK]"), models.WordLevel(pieces, "[UNK]")):
        fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
        with pytest.raises(ModelError, match=f"to the {type(model).__name__} tokenizer"):
            Vocabulary(fast)
    slow = type("Slow", (), {"is_fast": False, "name_or_path": "", "init_kwargs": {}})()
    with pytest.raises(ModelError, match="Slow has no fast tokenizer"):
        Vocabulary(slow)


def test_special_tokens_outside_a_unigram_vocabulary_are_refused(make):
    base = make("XLM-R")
    base.add_tokens(["<|extra|>"], special_tokens=True)
    run = base.backend_tokenizer.encode(" light to", add_special_tokens=False).ids
    with pytest.raises(ModelError, match="outside its Unigram vocabulary"):
        Vocabulary(base).extend([run])


def test_a_pinned_token_that_other_text_holds_is_refused(make):
    base = make("Llama 3")
    base.add_tokens(["household"])
    run = base.backend_tokenizer.encode(" light to", add_special_tokens=False).ids
    with pytest.raises(ModelError, match="'household'"):
        Vocabulary(base).extend([run])


def test_metadata_that_does_not_fit_is_refused(make, tmp_path):
    extended, new = Vocabulary(make("Qwen2")).extend([[40, 41], [50, 51, 52]])
    extended.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    id_ = next(iter(new.runs))
    for broken, match in (
        ({str(id_): [41, 40]}, "is not what its tokenizer_config.json says"),
        ({str(id_ + 7): [40, 41]}, "is not what"),
        ({str(id_): [40, 10**8]}, "is not what"),
        ({str(id_): [40]}, "fewer than two"),
        ([1, 2], "no lists of ids"),
    ):
        file.write_text(json.dumps(config | {"tascel_new_tokens": broken}))
        with pytest.raises(ModelError, match=match):
            Codec.from_pretrained(tmp_path)


def test_the_fingerprint_covers_the_runs(make):
    base = make("Qwen2")
    prints = {
        Codec.from_tokenizer(tokenizer).fingerprint
        for tokenizer in (
            base,
            Vocabulary(base).extend([[40, 41]])[0],
            Vocabulary(base).extend([[41, 40]])[0],
        )
    }
    assert len(prints) == 3


@pytest.mark.real
def test_prompts_of_a_real_model_keep_their_ids(lines):
    from tascel.assets import smollm2

    base = AutoTokenizer.from_pretrained(smollm2())
    texts = lines(2000, 5)
    vocabulary = Vocabulary(base)
    runs = runs_of(base.backend_tokenizer, texts, 2000)
    extended, new = vocabulary.extend([run for run in runs if vocabulary.refuse(run) is None])
    assert len(new) > 1000
    probes = texts_about([base.decode(run) for run in new.runs.values()], texts, MANY)
    before = ids_of(base.backend_tokenizer, probes)
    assert ids_of(extended.backend_tokenizer, probes) == before


def test_classes_that_put_themselves_together_keep_the_entries(own_class, lines, tmp_path):
    folder, kind = own_class
    (folder / "tokenizer.model").write_bytes(b"no entry is in here")
    base = AutoTokenizer.from_pretrained(folder)
    assert type(base).__name__ == kind
    vocabulary, texts = Vocabulary(base), lines(200, 7)
    runs = runs_of(base.backend_tokenizer, texts, 500)
    extended, new = vocabulary.extend([run for run in runs if vocabulary.refuse(run) is None])
    extended.save_pretrained(tmp_path / "extended")
    assert not (tmp_path / "extended" / "tokenizer.model").exists()
    before, after = (Codec.from_pretrained(tmp_path / at) for at in ("base", "extended"))
    assert after.new_tokens == new
    for text in texts:
        np.testing.assert_array_equal(after.prompt(text), before.prompt(text))
        assert after.decode(after.output(text).tolist()) == before.decode(
            before.output(text).tolist()
        )
