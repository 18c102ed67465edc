"""After conversion to GGUF, llama.cpp reads prompts as before and writes new tokens out in full.

Needs xllamacpp, a build of llama.cpp: run with `make test-peers`.
"""

import random
from itertools import pairwise

import pytest

from tascel.adapt.tokens.vocabulary import Vocabulary

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", ["Qwen2", "SmolLM", "Llama 3", "Llama 2"])
def test_llama_cpp_reads_and_writes_the_same(make, lines, llama_cpp, name):
    base, chance = make(name), random.Random(0)
    vocabulary, texts = Vocabulary(base), lines(400, 6)
    encoded = [e.ids for e in base.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    runs = {
        tuple(ids[at : at + size]): None
        for ids in encoded
        for at, size in [(chance.randrange(len(ids)), chance.randint(2, 6))]
    }
    runs = [run for run in runs if len(run) > 1 and vocabulary.refuse(run) is None]
    assert len(runs) > 100
    extended, new = vocabulary.extend(runs)
    before, after = llama_cpp(base, name), llama_cpp(extended, name)
    written = [base.decode(run) for run in new.runs.values()]
    probes = [*texts, *written, *map("".join, pairwise(written))]
    for text in probes:
        asked = {"content": text, "parse_special": False}
        assert after("/tokenize", asked) == before("/tokenize", asked)
    for id_, run in new.runs.items():
        whole = after("/detokenize", {"tokens": [id_]})
        assert whole == after("/detokenize", {"tokens": list(run)})
