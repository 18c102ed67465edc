"""In llama-cpp-python itself: the same answers with any draft, whatever picks them. Run with
`make test-llamacpp`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.engines.profile import kept_price
from tascel.errors import BundleError, ModelError, RequestError
from tascel.plugins.llamacpp import LlamaDraft, open_llama, setting_of
from tascel.plugins.llamacpp.llama import llama_class
from tascel.plugins.llamacpp.opening import open_plain
from tascel.plugins.llamacpp.passes import price_of

pytestmark = pytest.mark.llamacpp

VOCAB, LONGEST = 272, 256
FREE = Price.free()
ONE = {"n_ctx": LONGEST, "n_batch": 64, "n_threads": 1, "n_threads_batch": 1}
GRAMMAR = 'root ::= "{" [a-z]+ "}" | "the lamp " [0-9]+ " is " ("on" | "off")'
WAYS = {
    "greedy": {"temp": 0.0},
    "sampled": {"temp": 1.2, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    "as it comes": {"temp": 0.8},
    "penalties": {"temp": 0.0, "repeat_penalty": 1.4, "frequency_penalty": 0.7},
    "presence": {"temp": 0.9, "presence_penalty": 1.5},
    "mirostat": {"temp": 0.8, "mirostat_mode": 2},
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, toy_folder, two_tasks):
    folder = tmp_path_factory.mktemp("llamacpp") / "bundle"
    build(two_tasks(120, labelled=True), toy_folder, folder)
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def llama(toy_gguf):
    return open_plain(toy_gguf, **ONE)


@pytest.fixture(scope="module")
def stock(toy_gguf):
    import llama_cpp

    return llama_cpp.Llama(
        str(toy_gguf), n_ctx=LONGEST, n_batch=64, n_threads=1, n_threads_batch=1, verbose=False
    )


class Oracle:
    """Knows the answer and tells it with mistakes: `wrong` says where."""

    def __init__(self, answer, wrong, width):
        self.answer, self.wrong, self.width = answer, wrong, width

    def open(self, request):
        self.at = 0
        return self

    def propose(self, room, price, pending=1):
        chain = [
            (token + 1) % VOCAB if (self.at + i) in self.wrong else token
            for i, token in enumerate(self.answer[self.at : self.at + self.width])
        ]
        return Proposal.chain(chain[:room])

    def accept(self, tokens, offered, taken):
        self.at += len(tokens)

    def close(self):
        pass


def answer(llama, prompt, count, seed=7, **how):
    llama.set_seed(seed)
    llama.reset()
    grammar = how.pop("grammar", None)
    if grammar is not None:
        from llama_cpp import LlamaGrammar

        grammar = LlamaGrammar.from_string(grammar, verbose=False)
    written = []
    for token in llama.generate(prompt, grammar=grammar, **how):
        written.append(token)
        if len(written) == count or token == VOCAB - 1:
            break
    return written


def drafted(llama, draft, prompt, count, **how):
    llama.draft_model = LlamaDraft(draft, FREE, VOCAB, LONGEST)
    try:
        return answer(llama, prompt, count, **how), llama.draft_model
    finally:
        llama.draft_model = None


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=12)
@given(
    prompt=st.lists(st.integers(3, 250), min_size=1, max_size=100),
    wrong=st.sets(st.integers(0, 40)),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**31),
)
def test_the_same_tokens_whatever_is_drafted(llama, stock, way, prompt, wrong, width, seed):
    plain = answer(stock, prompt, 40, seed=seed, **WAYS[way])
    found, draft = drafted(llama, Oracle(plain, wrong, width), prompt, 40, seed=seed, **WAYS[way])
    assert found == plain
    assert answer(llama, prompt, 40, seed=seed, **WAYS[way]) == plain
    if wrong.isdisjoint(range(len(plain))):
        assert draft.accepted == draft.checked


@pytest.mark.parametrize("temp", [0.0, 1.0])
def test_the_same_tokens_under_a_grammar(llama, stock, temp):
    how = {"grammar": GRAMMAR, "temp": temp}
    prompt = [5, 6, 7, 8]
    plain = answer(stock, prompt, 30, **how)
    assert len(plain) > 3
    for wrong in (set(), {1}, {2, 5}, {*range(30)}):
        found, _ = drafted(llama, Oracle(plain, wrong, 6), prompt, 30, **how)
        assert found == plain


def test_processors_see_what_is_known_and_not_what_is_drafted(llama, stock):
    def processor(heard):
        def process(ids, scores):
            heard.append([*ids])
            scores = np.array(scores)
            scores[int(ids.sum()) % VOCAB] += 30.0  # depends on all of it
            return scores

        return [process]

    prompt, heard, theirs = [9, 8, 7], [], []
    plain = answer(stock, prompt, 20, temp=0.0, logits_processor=processor(theirs))
    for wrong in (set(), {3, 4, 11}):
        heard.clear()
        oracle = Oracle(plain, wrong, 5)
        how = {"temp": 0.0, "logits_processor": processor(heard)}
        assert drafted(llama, oracle, prompt, 20, **how)[0] == plain
        assert heard == theirs


def test_answers_one_after_the_other_share_what_was_read(llama, stock):
    """Without a reset: the cache holds refused and unread drafts of the answer before."""
    prompts = [[5, 6, 7, 8, 9], [5, 6, 7, 9], [5, 6, 7, 9], [5, 6]]
    plain = [answer(stock, prompt, 12, temp=0.0) for prompt in prompts]
    llama.reset()
    for prompt, known in zip(prompts, plain, strict=True):
        llama.draft_model = LlamaDraft(Oracle(known, {4}, 8), FREE, VOCAB, LONGEST)
        found = []
        for token in llama.generate(prompt, temp=0.0):
            found.append(token)
            if len(found) == len(known):
                break
        assert found == known
    llama.draft_model = None


def test_the_draft_alone_in_the_stock_class(toy_gguf, stock):
    import llama_cpp

    whole = llama_cpp.Llama(str(toy_gguf), logits_all=True, verbose=False, **ONE)
    for prompt in ([5, 6, 7, 8], [5, 6, 9], [*range(3, 90)]):
        plain = answer(stock, prompt, 30, temp=0.0)
        found, draft = drafted(whole, Oracle(plain, {3, 9}, 6), prompt, 30, temp=0.0)
        assert found == plain
        assert draft.accepted > 5


def test_a_draft_hears_every_pass_once(llama, stock):
    prompt = [5, 6, 7, 8]
    plain = answer(stock, prompt, 20, temp=0.0)
    heard = []

    class Listening(Oracle):
        def accept(self, tokens, offered, taken):
            heard.extend(tokens)
            super().accept(tokens, offered, taken)

    drafted(llama, Listening(plain, {3, 9}, 6), prompt, 20, temp=0.0)
    assert heard == plain


def test_up_to_the_end_of_the_context(llama, stock):
    prompt = [*range(3, 203)]
    plain = answer(stock, prompt, LONGEST - len(prompt), temp=0.0)
    found, _ = drafted(llama, Oracle(plain, {7}, 16), prompt, len(plain), temp=0.0)
    assert found == plain


def test_a_prompt_has_the_logits_of_its_last_token_alone(llama):
    from llama_cpp import llama_cpp as native

    llama.reset()
    llama.eval([*range(3, 33)])
    assert native.llama_get_logits_ith(llama.ctx, -1)
    assert not native.llama_get_logits_ith(llama.ctx, 28)
    assert native.llama_get_logits_ith(llama.ctx, 29)


def test_with_log_probabilities(toy_gguf, bundle):
    opened = open_llama(toy_gguf, bundle, attach=True, logits_all=True, **ONE)
    plain = open_plain(toy_gguf, logits_all=True, **ONE)
    how = {"max_tokens": 12, "temperature": 0.0, "logprobs": 2}
    ours, theirs = (one("light 3", **how)["choices"][0] for one in (opened, plain))
    assert ours["text"] == theirs["text"]
    np.testing.assert_allclose(
        ours["logprobs"]["token_logprobs"], theirs["logprobs"]["token_logprobs"], atol=1e-3
    )


def test_the_bundles_own_draft(toy_gguf, bundle):
    from llama_cpp.llama_speculative import LlamaDraftModel

    opened = open_llama(toy_gguf, bundle, attach=True, **ONE)
    plain = open_plain(toy_gguf, **ONE)
    for record in range(5):
        prompt = bundle.records().prompts[record].tolist()
        assert answer(opened, prompt, 40, temp=0.0) == answer(plain, prompt, 40, temp=0.0)
    assert opened.draft_model.calls
    assert isinstance(opened.draft_model, LlamaDraftModel)
    assert opened.worth is None  # nobody asked
    chat = [{"role": "user", "content": "light 3"}]
    said = [
        one.create_chat_completion(chat, max_tokens=20, temperature=0.0)["choices"][0]["message"]
        for one in (opened, plain)
    ]
    assert said[0] == said[1]


def test_a_draft_is_attached_where_it_pays(toy_gguf, bundle, monkeypatch):
    curves = {True: {1: 1000.0, 64: 1001.0}, False: {1: 1000.0, 2: 2000.0, 64: 64000.0}}
    for pays, points in curves.items():
        monkeypatch.setattr(
            "tascel.plugins.llamacpp.opening.price_of",
            lambda *_, points=points, **__: Price.from_points(points),
        )
        opened = open_llama(toy_gguf, bundle, **ONE)
        assert opened.worth.pays == pays
        assert (opened.draft_model is not None) == pays
        assert open_llama(toy_gguf, bundle, attach=False, **ONE).draft_model is None


def test_a_price_is_measured_once_and_kept(toy_gguf, llama, monkeypatch, tmp_path):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    setting = setting_of(toy_gguf, llama, ONE)
    assert kept_price(setting) is None
    price = price_of(llama, setting)
    assert price.rows == [1]
    assert (price.ms > 0).all()
    assert np.array_equal(kept_price(setting).ms, price.ms)
    assert setting_of(toy_gguf, llama, {"type_k": 8}) != setting
    narrow = open_plain(toy_gguf, **ONE | {"n_batch": 8})
    assert setting_of(toy_gguf, narrow, ONE).runtime.endswith("passes of at most 8 tokens")
    assert "passes" not in setting.runtime


@pytest.fixture(scope="module")
def quantised(toy_gguf, tmp_path_factory):
    from llama_cpp import llama_cpp as native

    file = tmp_path_factory.mktemp("quantised") / "toy.gguf"
    how = native.llama_model_quantize_default_params()
    how.ftype, how.nthread = native.LLAMA_FTYPE_MOSTLY_Q8_0, 1
    assert native.llama_model_quantize(str(toy_gguf).encode(), str(file).encode(), how) == 0
    return file


def test_quantised_weights_are_kept_from_kernels_that_may_die(toy_gguf, quantised, monkeypatch):
    monkeypatch.setattr("llama_cpp.llama_print_system_info", lambda: b"CPU : AMX_INT8 = 1 | ")
    with pytest.warns(UserWarning, match=r"toy\.gguf: .* compiled with AMX"):
        llama = open_plain(quantised, **ONE)
    assert not llama.model_params.use_extra_bufts
    assert "weights not repacked" in setting_of(quantised, llama, ONE).runtime
    assert open_plain(toy_gguf, **ONE).model_params.use_extra_bufts
    monkeypatch.undo()
    monkeypatch.setattr("llama_cpp.llama_print_system_info", lambda: b"CPU : AVX2 = 1 | ")
    assert open_plain(quantised, **ONE).model_params.use_extra_bufts


def test_quantised_weights_are_read_however_llama_cpp_was_compiled(quantised):
    """In a process of its own, which an illegal instruction would end."""
    code = (
        "from tascel.plugins.llamacpp import open_plain\n"
        f"open_plain({str(quantised)!r}, n_ctx=64, n_threads=1).eval([*range(3, 40)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_drafted_for_is_refused_by_name(toy_gguf, bundle, monkeypatch, tmp_path):
    with pytest.raises(RequestError, match="draft_model"):
        open_llama(toy_gguf, bundle, draft_model=object())
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(ModelError, match="no GGUF file"):
        open_llama(tmp_path / "text.gguf", bundle)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(toy_gguf.read_bytes()[:-4096])
    with pytest.raises(ModelError, match="cannot open it"):
        open_llama(cut, bundle)
    some = bundle.reader.tokenizer.get_vocab()
    monkeypatch.setattr(
        "tascel.plugins.llamacpp.vocabulary.vocabulary_of", lambda _: ["x"] * len(some)
    )
    with pytest.raises(BundleError, match="id 0"):
        open_llama(toy_gguf, bundle)
    monkeypatch.undo()
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_model_is_recurrent", lambda _: True)
    assert open_llama(toy_gguf, bundle).draft_model is None
    with pytest.raises(ModelError, match="recurrent"):
        open_llama(toy_gguf, bundle, attach=True)


@pytest.mark.parametrize("version", ["0.4.1", "0.4.0rc1"])
def test_another_version_is_refused(monkeypatch, toy_gguf, version):
    llama_class.cache_clear()
    monkeypatch.setattr("llama_cpp.__version__", version)
    with pytest.raises(ModelError, match=rf"llama-cpp-python {version}; we know 0\.3\.36"):
        open_plain(toy_gguf)
