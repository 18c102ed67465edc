"""llama.cpp's own reader loads what we write for it, and drafts from it what follows.

Needs xllamacpp, a build of llama.cpp: run with `make test-peers`.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tascel.codec import Codec
from tascel.plugins.lookup import _write

pytestmark = pytest.mark.peers

TO_GGUF = Path(__file__).parents[2] / "benchmarks" / "to_gguf.py"
LONG = 48


def serve(gguf, folder=None):
    """`answer(ids)` by llama.cpp's server, with the caches in `folder`: ids and timings."""
    from xllamacpp import CommonParams, Server, common_speculative_type

    settings = CommonParams()
    settings.model.path, settings.n_ctx, settings.port = str(gguf), 256, 0
    settings.n_parallel = 1
    if folder is not None:
        kind = common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_CACHE
        settings.speculative.types = [kind]
        settings.speculative.ngram_cache.lookup_cache_static = str(folder / "static.bin")
        settings.speculative.ngram_cache.lookup_cache_dynamic = str(folder / "dynamic.bin")
    server = Server(settings)

    def answer(ids):
        asked = {"prompt": ids, "n_predict": LONG, "temperature": 0, "return_tokens": True}
        asked |= {"cache_prompt": False, "seed": 1}
        request = Request(f"{server.listening_address}/completion", json.dumps(asked).encode())
        with urlopen(request, timeout=60) as reply:
            found = json.load(reply)
        return found["tokens"], found["timings"]

    return answer


@pytest.fixture(scope="module")
def gguf(toy_folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    runpy.run_path(str(TO_GGUF))["convert"](toy_folder, file)
    return file


def test_it_drafts_what_followed_and_answers_the_same(toy_folder, gguf, tmp_path):
    codec = Codec.from_pretrained(toy_folder)
    texts = ("light", "lamps 12", "on")
    prompts = [codec.prompt([{"role": "user", "content": text}]).tolist() for text in texts]
    plain = serve(gguf)
    answers = [plain(ids)[0] for ids in prompts]
    outputs = [np.array(answer, np.int32) for answer in answers]
    _write(2 * outputs, codec.generation_prompt()[-4:], tmp_path / "own")
    _write([output[::-1] for output in 2 * outputs], outputs[0][:0], tmp_path / "reversed")
    accepted = []
    for name in ("own", "reversed"):
        drafted = serve(gguf, tmp_path / name)
        found = [drafted(ids) for ids in prompts]
        assert [tokens for tokens, _ in found] == answers
        accepted.append(sum(timings.get("draft_n_accepted", 0) for _, timings in found))
    tokens = sum(map(len, answers))
    assert accepted[0] > tokens / 2
    assert accepted[1] < tokens / 10
