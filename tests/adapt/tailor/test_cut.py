import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tascel.adapt.tailor import cut
from tascel.adapt.tailor.closure import closed
from tascel.adapt.tailor.select import always
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.errors import ModelError


def smaller(base, texts, folder):
    """The tokenizer cut to what `texts` need, and the old id of each of its ids."""
    codec = Codec.from_tokenizer(base)
    encoded = base.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    kept = {*always(codec).tolist(), *cut.named(base), *(id_ for e in encoded for id_ in e.ids)}
    order = cut.cut(base, closed(kept, codec.tokenizer, codec.new_tokens), folder)
    return AutoTokenizer.from_pretrained(folder), order


@pytest.fixture(scope="module")
def pair(family, lines, tmp_path_factory):
    """A tokenizer, the same cut to ten lines, and what was kept."""
    base, _ = family
    texts = lines(10, 3)
    small, order = smaller(base, texts, tmp_path_factory.mktemp("cut"))
    assert len(order) < base.backend_tokenizer.get_vocab_size()
    return base, small, order, texts


def test_kept_texts_are_encoded_as_before(pair, lines):
    base, small, order, texts = pair
    held, same = set(order.tolist()), 0
    cuts = [text[at : at + 9] for text in lines(3000, 4) for at in range(0, len(text), 9)]
    for text in [*texts, *cuts]:
        for special in (False, True):
            old = base.encode(text, add_special_tokens=special)
            if held.issuperset(old):
                new = small.encode(text, add_special_tokens=special)
                assert order[new].tolist() == old
                same += 1
    assert same > 500


def test_what_every_id_writes_is_what_it_wrote(pair):
    base, small, order, _ = pair
    for new, old in enumerate(order.tolist()):
        assert small.convert_ids_to_tokens(new) == base.convert_ids_to_tokens(old)
        assert small.decode([new]) == base.decode([old])
    assert sorted(small.get_vocab().values()) == [*range(len(order))]
    assert small.all_special_tokens == base.all_special_tokens
    assert small.chat_template == base.chat_template


@settings(max_examples=100)
@given(text=st.text(max_size=30))
def test_any_text_goes_there_and_back_as_before(pair, text):
    base, small, _, _ = pair
    there = small.decode(small.encode(text, add_special_tokens=False))
    assert there == base.decode(base.encode(text, add_special_tokens=False))


@settings(max_examples=100)
@given(data=st.binary(max_size=20))
def test_byte_level_entries_spell_any_bytes(make, data):
    base = make("Qwen2")
    codec = Codec.from_tokenizer(base)
    ids = closed(always(codec).tolist(), codec.tokenizer, codec.new_tokens)
    from tascel.token_bytes import TokenBytes

    spell = TokenBytes(codec.tokenizer)
    by_byte = {spell(int(id_)): int(id_) for id_ in ids if len(spell(int(id_))) == 1}
    assert b"".join(spell(by_byte[bytes([byte])]) for byte in data) == data


def test_an_entry_needs_what_it_is_merged_from(make, tmp_path):
    """And without that it would be out of reach: the property above can fail."""
    base = make("Qwen2")
    codec = Codec.from_tokenizer(base)
    (light,) = base.encode(" lights", add_special_tokens=False)[:1]
    kept = {*always(codec).tolist(), light}
    whole = closed(kept, codec.tokenizer, codec.new_tokens)
    assert len(whole) > len(kept)
    order = cut.cut(base, whole, tmp_path / "closed")
    text = base.decode([light])
    small = AutoTokenizer.from_pretrained(tmp_path / "closed")
    assert order[small.encode(text, add_special_tokens=False)].tolist() == [light]
    cut.cut(base, np.array(sorted(kept), np.int32), tmp_path / "open")
    unreached = AutoTokenizer.from_pretrained(tmp_path / "open")
    assert len(unreached.encode(text, add_special_tokens=False)) > 1


def test_new_tokens_stay(make, lines, tmp_path):
    base, chance = make("Llama 3"), random.Random(0)
    vocabulary, texts = Vocabulary(base), lines(200, 5)
    encoded = [e.ids for e in base.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    starts = [(ids, chance.randrange(len(ids) - 3)) for ids in encoded if len(ids) > 3]
    runs = {tuple(ids[at : at + 3]) for ids, at in starts}
    extended, new = vocabulary.extend(sorted(r for r in runs if vocabulary.refuse(r) is None)[:40])
    _, order = smaller(extended, texts[:10], tmp_path)
    before, after = Codec.from_tokenizer(extended), Codec.from_pretrained(tmp_path)
    assert len(after.new_tokens) == len(new) == 40
    shorter = 0
    for text in texts[:10]:
        np.testing.assert_array_equal(order[after.output(text)], before.output(text))
        shorter += len(after.output(text)) < len(text.encode())
    assert shorter


def test_ids_around_texts_are_renumbered(make, tmp_path):
    from tokenizers.processors import RobertaProcessing, Sequence, TemplateProcessing

    base = make("Llama 2")
    backend = base.backend_tokenizer
    end = ("</s>", backend.token_to_id("</s>"))
    start = ("<s>", backend.token_to_id("<s>"))
    for at, processor in enumerate(
        (
            TemplateProcessing("<s> $A </s>", "<s> $A $B </s>", [start, end]),
            Sequence([TemplateProcessing("<s> $A", "<s> $A $B", [start])]),
            RobertaProcessing(end, start, add_prefix_space=False),
        )
    ):
        backend.post_processor = processor
        small, order = smaller(base, ["the lamp"], tmp_path / str(at))
        before = base.encode("the lamp")
        assert before[0] == start[1]
        assert order[small.encode("the lamp")].tolist() == before


def test_files_that_know_all_entries_are_left_out(make, tmp_path):
    make("Llama 2").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.model").write_bytes(b"all of them")
    base = AutoTokenizer.from_pretrained(tmp_path / "base")
    smaller(base, ["light"], tmp_path / "small")
    assert {file.name for file in (tmp_path / "small").iterdir()} <= {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    decoder = json.loads((tmp_path / "small" / "tokenizer_config.json").read_text())
    added = decoder.get("added_tokens_decoder", {})
    assert all(int(id_) < 400 for id_ in added)


def test_classes_that_put_themselves_together_keep_it(own_class, lines, tmp_path):
    folder, kind = own_class
    base = AutoTokenizer.from_pretrained(folder)
    assert type(base).__name__ == kind
    small, order = smaller(base, lines(10, 6), tmp_path / "small")
    assert type(small).__name__ == kind
    for text in lines(10, 6):
        assert order[small.encode(text)].tolist() == base.encode(text)


def test_other_families_are_refused_by_name():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = {"[UNK]": 0, "a": 1, "##b": 2}
    for model in (models.WordPiece(pieces, unk_token="[UNK]"), models.WordLevel(pieces, "[UNK]")):
        fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
        with pytest.raises(ModelError, match=f"the {type(model).__name__} tokenizer"):
            cut.refuse(fast)
    slow = type("Slow", (), {"is_fast": False, "name_or_path": ""})()
    with pytest.raises(ModelError, match="Slow has no fast tokenizer"):
        cut.refuse(slow)
