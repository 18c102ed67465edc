"""`generate(custom_generate=Drafts(…))` against stock `generate`, on toys of several families."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
)
from transformers.generation.streamers import BaseStreamer

from tascel.builder import build
from tascel.draft.price import Price
from tascel.errors import BundleError, ModelError, RequestError
from tascel.plugins.transformers import Drafts
from tascel.types import Trace

PROMPTS = ("light one on", "is the phone in the den?", "off")
LENGTH = 40
#: A family's config; "Llama" is the one that the bundle was made for.
FAMILIES = {
    "Llama": {},
    "Qwen3": {},
    "GPTNeoX": {},
    "Phi3": {"sliding_window": None},
    "Mistral": {"sliding_window": 8},
    "Gemma2": {"sliding_window": 8, "head_dim": 8, "seed": 3},
    "Gemma3": {"sliding_window": 8, "head_dim": 8},
    "Bloom": {"n_head": 4, "n_layer": 2},
}


class Oracles:
    """A draft that knows each prompt's answer, with errors."""

    def __init__(self, oracle: Any, truths: dict[tuple[int, ...], list[int]], **facts: Any) -> None:
        self.oracle, self.truths, self.facts = oracle, truths, facts
        self.opened: list[Any] = []

    def open(self, request: Any) -> Any:
        truth = self.truths[tuple(request.prompt.tolist())]
        draft = self.oracle(truth, seed=len(self.opened), vocab_size=270, width=10, **self.facts)
        self.opened.append(draft.open(request))
        return draft


class Recorder(BaseStreamer):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def put(self, value: torch.Tensor) -> None:
        self.heard.append((tuple(value.shape), value.device.type, value.tolist()))

    def end(self) -> None:
        self.heard.append("end")


class Watching(StoppingCriteria):
    """Ends an answer at the third even id in a row; wants one call a token."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.even = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        assert scores is None
        assert not self.lengths or input_ids.shape[1] == self.lengths[-1] + 1
        self.lengths.append(input_ids.shape[1])
        self.even = self.even + 1 if int(input_ids[0, -1]) % 2 == 0 else 0
        return torch.full((len(input_ids),), self.even == 3)


class Fading(LogitsProcessor):
    """Likes an id the less, the more often it was written; wants one call a token."""

    def __init__(self) -> None:
        self.dislike: Any = None
        self.length = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self.dislike is None:
            self.dislike = torch.zeros_like(scores)
        else:
            assert input_ids.shape[1] == self.length + 1
            rows = torch.arange(len(scores))
            self.dislike[rows, input_ids[:, -1]] += 2.0
        self.length = input_ids.shape[1]
        return scores.sub_(self.dislike)


@pytest.fixture(scope="module", autouse=True)
def _prices(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A toy's passes are too short to measure: drafts must not depend on that noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("tascel.loading.price_of", lambda *_, **__: Price.free())
        yield


@pytest.fixture(scope="module")
def tok(tokenizer: Any) -> Any:
    mine = copy.deepcopy(tokenizer)
    mine.padding_side = "left"
    return mine


@pytest.fixture(scope="module")
def models(toy: Any, tok: Any) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def model(family: str) -> Any:
        if family not in made:
            made[family] = toy(
                family, **FAMILIES[family], eos_token_id=tok.eos_token_id, pad_token_id=0
            )
        return made[family]

    return model


@pytest.fixture(scope="module")
def bundle(models: Any, tok: Any, toy_folder: Any, tmp_path_factory: Any) -> Any:
    """Of the toy Llama's own answers, so that drafts are often right."""
    model, traces = models("Llama"), []
    for prompt in PROMPTS[:2]:
        inputs = asked(tok, prompt)
        ids = model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)[0]
        text = tok.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        turn = {"role": "user", "content": prompt}
        traces += [Trace((turn,), {"role": "assistant", "content": text})] * 3
    folder = tmp_path_factory.mktemp("b") / "bundle"
    build(traces, toy_folder, folder)
    return folder


@pytest.fixture(scope="module")
def opened(models: Any, bundle: Any, tok: Any) -> Callable[[str], Drafts]:
    """`opened("Llama")`: drafts for that toy; the bundle's own, where nothing else is set."""
    made: dict[str, tuple[Drafts, Any]] = {}

    def drafts(family: str = "Llama") -> Drafts:
        if family not in made:
            fresh = Drafts(bundle, models(family), tok)
            made[family] = fresh, fresh.runner.draft
        kept, draft = made[family]
        kept.runner.draft = draft
        return kept

    return drafts


@pytest.fixture
def both(models: Any, opened: Any, oracle_draft: Any) -> Callable[..., tuple[Any, Any, Drafts]]:
    """Stock `generate`'s ids, ours with drafts of `skill`, and the drafts."""

    def run(
        inputs: Any,
        family: str = "Llama",
        skill: float = 0.9,
        stock: Any = (),
        ours: Any = (),
        **asked: Any,
    ) -> tuple[Any, Any, Drafts]:
        model, drafts = models(family), opened(family)

        def settings(more: Any) -> dict[str, Any]:
            kept = {"max_new_tokens": LENGTH, "do_sample": False} | asked | dict(more)
            return {name: value() if callable(value) else value for name, value in kept.items()}

        plain = model.generate(**inputs, **settings(stock))
        drafts.runner.draft = Oracles(oracle_draft, truths(inputs, plain), skill=skill)
        own = settings(ours) | {"custom_generate": drafts}
        return plain, model.generate(**inputs, **own), drafts

    return run


def asked(tok: Any, *prompts: str) -> Any:
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tok(texts, return_tensors="pt", padding=True, return_token_type_ids=False)


def truths(inputs: Any, plain: Any) -> dict[tuple[int, ...], list[int]]:
    width = inputs["input_ids"].shape[1]
    masks = inputs["attention_mask"].bool()
    return {
        tuple(ids[mask].tolist()): answer[width:].tolist()
        for ids, mask, answer in zip(inputs["input_ids"], masks, plain, strict=True)
    }


def accepted(drafts: Drafts) -> int:
    return sum(sum(answer.stats.accepted.values()) for answer in drafts.answers)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_stock_generate(both: Any, tok: Any, family: str) -> None:
    right = 0
    for prompt in PROMPTS:
        plain, drafted, drafts = both(asked(tok, prompt), family)
        assert drafted.dtype == plain.dtype
        assert drafted.tolist() == plain.tolist()
        (answer,) = drafts.answers
        assert answer.text == tok.decode(answer.tokens, skip_special_tokens=True)
        right += accepted(drafts)
    assert right > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_are_those_of_stock_generate(both: Any, tok: Any, family: str) -> None:
    plain, drafted, drafts = both(asked(tok, *PROMPTS), family)
    assert drafted.tolist() == plain.tolist()
    assert accepted(drafts) > 20


def test_the_bundle_drafts_and_keeps_what_it_learns(models: Any, opened: Any, tok: Any) -> None:
    model, drafts = models("Llama"), opened()
    drafts.runner.draft.forget()
    asked_for = {"max_new_tokens": LENGTH, "do_sample": False}
    for prompt in PROMPTS:
        inputs = asked(tok, prompt)
        plain = model.generate(**inputs, **asked_for)
        assert torch.equal(model.generate(**inputs, **asked_for, custom_generate=drafts), plain)
        if prompt != "off":
            assert accepted(drafts) > 10
    assert drafts.runner.draft.mixer.drift.any()


SETTINGS: dict[str, dict[str, Any]] = {
    "max_length": {"max_new_tokens": None, "max_length": 47},
    "one token": {"max_new_tokens": 1},
    "end ids": {"eos_token_id": [*range(0, 250, 7)]},
    "ends at once": {"eos_token_id": [*range(272)]},
    "not too soon": {"eos_token_id": [*range(0, 250, 3)], "min_new_tokens": 9},
    "min_length": {"eos_token_id": [*range(0, 250, 3)], "min_length": 60},
    "no end": {"eos_token_id": None},
    "pad_token_id": {"eos_token_id": [*range(0, 250, 7)], "pad_token_id": 7},
    "penalty": {"repetition_penalty": 1.7},
    "no repeats": {"no_repeat_ngram_size": 1},
    "bad words": {"bad_words_ids": [[n] for n in range(0, 250, 2)]},
    "forced end": {"forced_eos_token_id": 5},
    "bias": {"sequence_bias": [[[5], 9.0], [[7, 9], -8.0]]},
    "decay": {"exponential_decay_length_penalty": (5, 1.3), "eos_token_id": [3, 5]},
    "guidance": {"guidance_scale": 1.5},
    "prefixes": {"prefix_allowed_tokens_fn": lambda: lambda row, ids: [
        *range(90 * row, 90 * row + 90)]},
    "time": {"max_time": 0.0},
    "own processor": {"logits_processor": lambda: LogitsProcessorList([Fading()])},
    "own criterion": {"stopping_criteria": lambda: StoppingCriteriaList([Watching()])},
    "own length": {"stopping_criteria": lambda: StoppingCriteriaList([MaxLengthCriteria(50)])},
    "no cache": {"use_cache": False},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_do_what_they_do_in_stock_generate(both: Any, tok: Any, name: str) -> None:
    for prompt in PROMPTS[:2]:
        plain, drafted, drafts = both(asked(tok, prompt), **SETTINGS[name])
        assert drafted.tolist() == plain.tolist()
        (answer,) = drafts.answers
        assert answer.finish_reason == ("length" if name in LONG else "stop")
        assert accepted(drafts) > 5 or len(answer.tokens) < 12


LONG = {"max_length", "one token", "no end", "penalty", "forced end", "no repeats", "bad words",
        "bias", "guidance", "prefixes", "own processor", "own length", "no cache"}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_in_a_batch(both: Any, tok: Any, name: str) -> None:
    settings = SETTINGS[name]
    if name == "own criterion":  # looks at the first row only: see the test below
        return
    plain, drafted, _ = both(asked(tok, *PROMPTS), **settings)
    assert drafted.tolist() == plain.tolist()


def test_rows_of_a_batch_have_processors_and_criteria_of_their_own(
    models: Any, both: Any, opened: Any, tok: Any
) -> None:
    model, drafts, mine = models("Llama"), opened(), Watching()
    alone = []
    for prompt in PROMPTS:
        plain, drafted, _ = both(asked(tok, prompt), **SETTINGS["own criterion"])
        assert drafted.tolist() == plain.tolist()
        alone.append(drafts.answers[0].tokens)
    assert len({len(tokens) for tokens in alone}) > 1
    drafts = opened()
    model.generate(
        **asked(tok, *PROMPTS), max_new_tokens=LENGTH, do_sample=False, custom_generate=drafts,
        stopping_criteria=StoppingCriteriaList([mine]),
    )  # fmt: skip
    assert [answer.tokens for answer in drafts.answers] == alone
    assert not mine.lengths


def test_one_row_asks_the_very_objects_it_was_given(models: Any, opened: Any, tok: Any) -> None:
    model, drafts, inputs = models("Llama"), opened(), asked(tok, PROMPTS[0])
    process, watch = Fading(), Watching()
    ids = model.generate(
        **inputs, max_new_tokens=LENGTH, do_sample=False, custom_generate=drafts,
        logits_processor=LogitsProcessorList([process]),
        stopping_criteria=StoppingCriteriaList([watch]),
    )  # fmt: skip
    width = inputs["input_ids"].shape[1]
    assert watch.lengths == [*range(width + 1, ids.shape[1] + 1)]
    assert process.length == ids.shape[1] - 1


def test_stop_strings_end_where_plain_decoding_ends(both: Any, tok: Any, models: Any) -> None:
    """The case that stock assisted decoding misses: the string lies inside an accepted block."""
    inputs, inside = asked(tok, PROMPTS[0]), 0
    plain = models("Llama").generate(**inputs, max_new_tokens=LENGTH, do_sample=False)
    text = tok.decode(plain[0, inputs["input_ids"].shape[1] :])
    for at in range(0, len(text) - 3, 2):
        strings = [text[at : at + 1 + at % 3], "no such thing"]
        stock = {"stop_strings": lambda strings=strings: strings, "tokenizer": lambda: tok}
        stopped, drafted, drafts = both(
            inputs, skill=1.0, stock=stock, ours={"tascel_stop": strings}
        )
        assert drafted.tolist() == stopped.tolist()
        inside += drafts.answers[0].stats.block_stops
    assert inside > 5
    stopped, drafted, _ = both(
        asked(tok, *PROMPTS), stock=stock, ours={"tascel_stop": text[at : at + 1 + at % 3]}
    )
    assert drafted.tolist() == stopped.tolist()


def test_streamers_hear_what_they_hear_from_stock_generate(both: Any, tok: Any) -> None:
    for settings in ({}, {"eos_token_id": [*range(0, 250, 7)]}):
        theirs, ours = Recorder(), Recorder()
        plain, _, _ = both(
            asked(tok, PROMPTS[1]),
            stock={"streamer": lambda theirs=theirs: theirs},
            ours={"tascel_streamer": lambda ours=ours: ours},
            **settings,
        )
        assert ours.heard == theirs.heard
        assert len(ours.heard) == plain.shape[1] - asked(tok, PROMPTS[1])["input_ids"].shape[1] + 2


def test_text_is_streamed(models: Any, opened: Any, tok: Any, capsys: Any) -> None:
    model, inputs = models("Llama"), asked(tok, PROMPTS[0])
    settings = {"max_new_tokens": LENGTH, "do_sample": False}
    ids = model.generate(**inputs, **settings, streamer=TextStreamer(tok, skip_prompt=True))
    plain = capsys.readouterr().out
    assert plain.strip()
    settings["custom_generate"] = opened()
    model.generate(**inputs, **settings, tascel_streamer=TextStreamer(tok, skip_prompt=True))
    assert capsys.readouterr().out == plain
    pieces = TextIteratorStreamer(tok, skip_prompt=True, timeout=60)
    worker = threading.Thread(
        target=model.generate, kwargs={**inputs, **settings, "tascel_streamer": pieces}
    )
    worker.start()
    assert "".join(pieces) == tok.decode(ids[0, inputs["input_ids"].shape[1] :])
    worker.join()


SAMPLED = {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01}


def sample(model: Any, inputs: Any, seed: int, drafts: Drafts, **more: Any) -> Any:
    torch.manual_seed(seed)
    settings = {**SAMPLED, "max_new_tokens": LENGTH} | more
    return model.generate(**inputs, **settings, custom_generate=drafts).tolist()


def test_a_seed_repeats_a_sample_with_and_without_drafts(
    models: Any, opened: Any, oracle_draft: Any, tok: Any
) -> None:
    model, inputs = models("Llama"), asked(tok, *PROMPTS)
    drafts = opened()
    drafts.runner.draft = None
    plain = sample(model, inputs, 3, drafts, num_return_sequences=2)
    assert accepted(drafts) == 0
    assert len({tuple(row) for row in plain}) == 6
    assert sample(model, inputs, 4, drafts, num_return_sequences=2) != plain
    assert sample(model, inputs, 3, opened(), num_return_sequences=2) == plain
    one = sample(model, asked(tok, PROMPTS[0]), 5, drafts)
    truth = truths(asked(tok, PROMPTS[0]), torch.tensor(one))
    drafts.runner.draft = Oracles(oracle_draft, truth, garbage=True)
    assert sample(model, asked(tok, PROMPTS[0]), 5, drafts) == one
    assert accepted(drafts) > 5


def test_greedy_decoding_leaves_the_random_state_alone(models: Any, opened: Any, tok: Any) -> None:
    state = torch.get_rng_state()
    models("Llama").generate(
        **asked(tok, *PROMPTS), max_new_tokens=4, do_sample=False, custom_generate=opened()
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_have_the_distribution_of_stock_generate(
    models: Any, opened: Any, tok: Any
) -> None:
    """Both tokens of 800 short answers against the exact chances of each."""
    model, inputs = models("Llama"), asked(tok, PROMPTS[0])
    warm = {**SAMPLED, "temperature": 0.3, "top_k": 8, "num_return_sequences": 100}
    answers = np.array(
        [sample(model, inputs, seed, opened(), max_new_tokens=2, **warm) for seed in range(8)]
    ).reshape(800, -1)[:, -2:]
    start = inputs["input_ids"]
    first = chances(model, start, warm)
    second = sum(
        chance * chances(model, torch.cat([start, torch.tensor([[token]])], 1), warm)
        for token, chance in enumerate(first)
        if chance > 0
    )
    for tokens, exact in zip(answers.T, (first, second), strict=True):
        seen = np.bincount(tokens, minlength=len(exact)) / len(tokens)
        assert not seen[exact == 0].any()
        assert 0.5 * np.abs(seen - exact).sum() < 0.06
        sharper = exact**1.25 / (exact**1.25).sum()  # the control: a temperature a quarter off
        assert 0.5 * np.abs(seen - sharper).sum() > 0.06


def chances(model: Any, ids: Any, settings: Any) -> Any:
    """What stock `generate` would sample the next token from: f64[V]."""
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, return_dict_in_generate=True,
        output_scores=True, **settings | {"num_return_sequences": 1},
    )  # fmt: skip
    return torch.softmax(out.scores[0][0].double(), -1).numpy()


def test_the_outcome_can_be_a_dict(both: Any, tok: Any) -> None:
    plain, drafted, _ = both(asked(tok, PROMPTS[0]), ours={"return_dict_in_generate": True})
    assert drafted.sequences.tolist() == plain.tolist()
    assert drafted.past_key_values is None


REFUSED = {
    "beam_search": {"num_beams": 2},
    "beam_sample": {"num_beams": 2, "do_sample": True},
    "assisted_generation": {"prompt_lookup_num_tokens": 3},
    "contrastive_search": {"penalty_alpha": 0.5, "top_k": 4},
    "dola_generation": {"dola_layers": "low"},
    "cache_implementation='static'": {"cache_implementation": "static"},
    "past_key_values": {"past_key_values": lambda: DynamicCache()},
    "inputs_embeds": {"inputs_embeds": lambda: torch.zeros(1, 4, 32)},
    "position_ids": {"position_ids": lambda: torch.arange(3, 31)[None]},
    "output_scores and output_logits": {
        "return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "output_attentions": {
        "return_dict_in_generate": True, "output_attentions": True, "output_hidden_states": True},
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_we_do_not_do_is_refused_by_name(
    models: Any, opened: Any, tok: Any, what: str
) -> None:
    more = {k: v() if callable(v) else v for k, v in REFUSED[what].items()}
    with pytest.raises(RequestError, match=f"^{what}.* cannot be had"):
        models("Llama").generate(
            **asked(tok, PROMPTS[0]), **{"max_new_tokens": 4, "do_sample": False} | more,
            custom_generate=opened(),
        )  # fmt: skip


def test_odd_inputs_are_refused(models: Any, opened: Any, tok: Any, monkeypatch: Any) -> None:
    inputs, settings = asked(tok, *PROMPTS), {"max_new_tokens": 4, "custom_generate": opened()}
    model = models("Llama")
    with pytest.raises(RequestError, match="one row"):
        model.generate(**inputs, **settings, tascel_streamer=Recorder())
    holes = inputs | {
        "attention_mask": inputs["attention_mask"].index_fill(1, torch.tensor([30]), 0)
    }
    with pytest.raises(RequestError, match="padding on the left"):
        model.generate(**holes, **settings)
    with pytest.raises(RequestError, match="padding on the left"):
        model.generate(**holes | {"attention_mask": holes["attention_mask"].bool()}, **settings)
    with pytest.raises(RequestError, match="row 0: the prompt has 256 tokens"):
        model.generate(torch.ones(1, 256, dtype=torch.long), **settings)
    with pytest.raises(RequestError, match="token_type_ids"):
        opened()(
            model, inputs["input_ids"], LogitsProcessorList(), StoppingCriteriaList(),
            model.generation_config, token_type_ids=inputs["attention_mask"],
        )  # fmt: skip
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(RequestError, match="spread over processes"):
        opened()(
            model, inputs["input_ids"], LogitsProcessorList(), StoppingCriteriaList(),
            model.generation_config,
        )  # fmt: skip


def test_answers_of_different_lengths_need_a_pad_id(models: Any, opened: Any, tok: Any) -> None:
    settings: Any = {"eos_token_id": None, "pad_token_id": None, "max_new_tokens": LENGTH}
    model = models("Llama")
    model.generation_config.pad_token_id, kept = None, model.generation_config.pad_token_id
    try:
        with pytest.raises(RequestError, match="differ in length"):
            model.generate(
                **asked(tok, *PROMPTS), **settings, custom_generate=opened(),
                stopping_criteria=StoppingCriteriaList([Watching()]),
            )  # fmt: skip
    finally:
        model.generation_config.pad_token_id = kept


def test_an_answer_ends_with_the_context(models: Any, opened: Any, tok: Any) -> None:
    inputs = asked(tok, PROMPTS[0])
    ids = models("Llama").generate(
        **inputs, max_new_tokens=1000, eos_token_id=None, do_sample=False, custom_generate=opened()
    )
    assert ids.shape[1] == 256


def test_a_failure_frees_the_rows(models: Any, opened: Any, tok: Any, monkeypatch: Any) -> None:
    class Failing(LogitsProcessor):
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            self.calls += 1
            if self.calls == 5:
                raise ZeroDivisionError
            return scores

    model, drafts, open_rows = models("Llama"), opened(), []
    engine = drafts.runner.engine
    opens, closes = engine.open, engine.close
    monkeypatch.setattr(engine, "open", lambda *a: (open_rows.append(1), opens(*a))[1])
    monkeypatch.setattr(engine, "close", lambda row: (open_rows.pop(), closes(row))[1])
    settings = {"max_new_tokens": 9, "do_sample": False, "custom_generate": drafts}
    with pytest.raises(ZeroDivisionError):
        model.generate(
            **asked(tok, *PROMPTS), **settings, logits_processor=LogitsProcessorList([Failing()])
        )
    assert not open_rows
    nothing = LogitsProcessorList([lambda ids, scores: scores * 0 - torch.inf])
    with pytest.raises(ModelError, match="no token may come next"):
        model.generate(**asked(tok, *PROMPTS), **settings, logits_processor=nothing)
    assert not open_rows
    plain = model.generate(**asked(tok, *PROMPTS), max_new_tokens=9, do_sample=False)
    assert torch.equal(model.generate(**asked(tok, *PROMPTS), **settings), plain)


def test_a_model_may_change_between_calls(toy: Any, bundle: Any, tok: Any) -> None:
    """PEFT models work, and nothing of the cache outlives a call."""
    from peft import LoraConfig, get_peft_model

    base = toy("Llama", seed=5, eos_token_id=tok.eos_token_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks for names that transformers is giving up
        model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    drafts = Drafts(bundle, model, tok)
    settings = {"max_new_tokens": 20, "do_sample": False}
    inputs, answers = asked(tok, PROMPTS[0]), []
    for _ in range(3):
        plain = model.generate(**inputs, **settings)
        drafted = model.generate(**inputs, **settings, custom_generate=drafts)
        assert torch.equal(drafted, plain)
        answers.append(plain.tolist())
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight += 0.3
    assert answers[0] != answers[1] != answers[2]


def test_prompt_tuning_is_refused(toy: Any, bundle: Any, tok: Any) -> None:
    """Its virtual tokens are not in the ids: our passes would leave them out."""
    from peft import PromptTuningConfig, get_peft_model

    base = toy("Llama", eos_token_id=tok.eos_token_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(
            base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        )
    drafts, inputs = Drafts(bundle, model, tok), asked(tok, PROMPTS[0])
    settings = {"max_new_tokens": 8, "do_sample": False}
    with pytest.raises(RequestError, match="prompt tuning"):
        model.generate(**inputs, **settings, custom_generate=drafts)
    plain = base.generate(**inputs, **settings)
    assert torch.equal(base.generate(**inputs, **settings, custom_generate=drafts), plain)


def test_another_model_is_refused(
    models: Any, opened: Any, bundle: Any, toy: Any, tok: Any
) -> None:
    with pytest.raises(ModelError, match="opened for another LlamaForCausalLM"):
        models("Qwen3").generate(**asked(tok, "a"), custom_generate=opened(), max_new_tokens=2)
    with pytest.raises(ModelError, match=r"Mamba.*cannot check drafts"):
        Drafts(bundle, toy("Mamba", state_size=8), tok)
    other = copy.deepcopy(tok)
    other.add_tokens(["more"])
    with pytest.raises(BundleError, match="built with the tokenizer of"):
        Drafts(bundle, models("Llama"), other)


def test_the_price_is_measured_once_for_a_structure(
    toy: Any, bundle: Any, tok: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    from tascel.engines import profile

    monkeypatch.setattr("tascel.loading.price_of", profile.price_of)
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    opened = [Drafts(bundle, toy("Llama", seed=seed), tok).runner for seed in (1, 2)]
    assert len([*tmp_path.rglob("*.json")]) == 1
    assert opened[0].price.ms.tolist() == opened[1].price.ms.tolist()
    Drafts(bundle, toy("Llama", hidden_size=64), tok)
    assert len([*tmp_path.rglob("*.json")]) == 2
