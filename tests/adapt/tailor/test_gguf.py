"""After conversion to GGUF, llama.cpp reads and writes kept texts with the same pieces.

Needs xllamacpp, a build of llama.cpp: run with `make test-peers`.
"""

import pytest

from tascel.adapt.tailor.closure import closed
from tascel.adapt.tailor.cut import cut
from tascel.adapt.tailor.select import always
from tascel.codec import Codec

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", ["Qwen2", "SmolLM", "Llama 3", "Llama 2"])
def test_llama_cpp_encodes_kept_texts_as_before(make, lines, llama_cpp, tmp_path, name):
    base, texts = make(name), lines(30, 8)
    codec, before = Codec.from_tokenizer(base), llama_cpp(base, name)

    def ids(ask, text):
        return ask("/tokenize", {"content": text, "parse_special": False})["tokens"]

    kept = {*always(codec).tolist(), *(id_ for text in texts for id_ in ids(before, text))}
    whole = closed(kept, codec.tokenizer, codec.new_tokens)
    assert len(whole) < base.backend_tokenizer.get_vocab_size()
    order = cut(base, whole, tmp_path / "small").tolist()
    after = llama_cpp(type(base).from_pretrained(tmp_path / "small"), name)
    for text in texts:
        assert [order[id_] for id_ in ids(after, text)] == ids(before, text)
    for text in ("anything else: жизнь 🦜", *lines(60, 9)):  # with smaller pieces
        there = {"tokens": ids(after, text)}
        back = {"tokens": ids(before, text)}
        assert after("/detokenize", there) == before("/detokenize", back)
