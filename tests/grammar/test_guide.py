"""Constraints against a brute-force walk and a schema checker, alone and in the loop."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import jsonschema_rs
import llguidance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.decode.loop import Loop, complete, decode
from tascel.decode.schedule import Scheduler
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.grammar import CompiledGrammar, Grammars, Guide
from tascel.new_tokens import NewTokens
from tascel.types import Completion, Request, Sampling

PRICE = Price.free()
VOCAB = 280  # the model's; the tokenizer has up to 276 ids
PROMPT = np.array([5, 6, 7], np.int32)

values = st.recursive(
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"type": "integer", "minimum": -20, "maximum": 300},
            {"enum": ["on", "off", 3, None]},
            {"enum": ["<|im_end|>", 'ä\n"\\', "the light"]},
            {"const": "thin thing"},
            {"type": "string", "maxLength": 3},
            {"type": "string", "pattern": "^[a-c]{2}$"},
            {"type": ["string", "null"], "maxLength": 2},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda items, most: {"type": "array", "items": items, "maxItems": most},
            inner,
            st.integers(0, 3),
        ),
        st.builds(
            lambda of, needed: {
                "type": "object",
                "properties": of,
                "required": [key for key in of if key in needed],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["a", "on", "the thin"]), inner, max_size=3),
            st.sets(st.sampled_from(["a", "on", "the thin"])),
        ),
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
    ),
    max_leaves=5,
)


#: Texts that get a token of their own, if any do.
LONG = ('{"a": ', '"the thin": ', '"the li', "thin thing", '"}', '": ', "[null, ", "true", '["off"')


@pytest.fixture(scope="module", params=[(), LONG], ids=["", "new tokens"])
def codec(tokenizer: Any, request: pytest.FixtureRequest) -> Codec:
    backend, new = tokenizer.backend_tokenizer, NewTokens()
    ends = [backend.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    if request.param:
        runs = [backend.encode(text).ids for text in request.param]
        extended, new = Vocabulary(tokenizer).extend(runs)
        backend = extended.backend_tokenizer
    return Codec(backend, None, ends, new_tokens=new)


@pytest.fixture(scope="module")
def grammars(codec: Codec) -> Grammars:
    return Grammars(codec)


def allowed(place: Guide, vocab: int = VOCAB) -> list[int]:
    logits = np.zeros(vocab, np.float32)
    place.mask(logits)
    assert set(np.unique(logits)) <= {0, -np.inf}
    return np.flatnonzero(logits == 0).tolist()


def wander(codec: Codec, grammar: CompiledGrammar, seed: int, most: int = 60) -> list[int]:
    """Any answer that the grammar allows, or its beginning."""
    rng, place, ids = np.random.default_rng(seed), grammar.start(), list[int]()
    while len(ids) < most and not codec.eos_ids.intersection(ids):
        ids.append(int(rng.choice(allowed(place))))
        place.accept(ids[-1])
    return ids


@settings(max_examples=150)
@given(schema=values, seed=st.integers(0, 2**32))
def test_what_may_be_written_follows_the_schema(codec, grammars, schema, seed):
    ids = wander(codec, grammars.json_schema(schema), seed)
    if ids[-1] in codec.eos_ids:
        assert jsonschema_rs.is_valid(schema, json.loads(codec.decode(ids)))


@settings(max_examples=60)
@given(schema=values, seed=st.integers(0, 2**32))
def test_the_mask_and_allows_agree_on_every_id(codec, grammars, schema, seed):
    grammar = grammars.json_schema(json.dumps(schema))
    ids, place = wander(codec, grammar, seed, 25), grammar.start()
    for token in ids:
        may = allowed(place)
        assert [id_ for id_ in range(VOCAB) if place.allows(id_)] == may
        assert [id_ for id_ in may if id_ < 100] == allowed(place, 100)
        assert may
        assert codec.eos_ids.isdisjoint(may) or codec.eos_ids.issubset(may)
        place.accept(token)
    assert allowed(place) == allowed(started(grammar, ids))


@settings(max_examples=100)
@given(schema=values, seed=st.integers(0, 2**32), width=st.integers(0, 40))
def test_admits_is_a_walk_down_every_path(codec, grammars, schema, seed, width):
    grammar, rng = grammars.json_schema(schema), np.random.default_rng(seed)
    truth = wander(codec, grammar, seed, 30)
    begun = int(rng.integers(0, len(truth)))
    place = started(grammar, truth[:begun])
    tokens, parents, paths = list[int](), list[int](), [list[int]()]
    for node in range(width):
        parent = int(rng.integers(-1, node)) if rng.random() < 0.4 else node - 1
        deep = len(paths[parent + 1])
        right = begun + deep < len(truth) and rng.random() < 0.8
        tokens.append(truth[begun + deep] if right else int(rng.integers(VOCAB)))
        parents.append(parent)
        paths.append([*paths[parent + 1], tokens[-1]])
    before = allowed(place), place.forced()
    admitted = place.admits(tokens, parents)
    assert admitted == [walks(codec, grammar, truth[:begun], path) for path in paths[1:]]
    assert (allowed(place), place.forced()) == before


@settings(max_examples=60)
@given(schema=values, seed=st.integers(0, 2**32), style=st.sampled_from([", |: ", ",|:"]))
def test_answers_may_be_written_as_the_codec_writes_them(codec, grammars, schema, seed, style):
    grammar = grammars.json_schema(schema)
    ids = wander(codec, grammar, seed)
    if ids[-1] in codec.eos_ids:
        text = json.dumps(
            json.loads(codec.decode(ids)), ensure_ascii=False, separators=style.split("|")
        )
        written = codec.output(text).tolist()
        assert walks(codec, grammar, [], [*written, codec.end_id])


def started(grammar: CompiledGrammar, ids: list[int]) -> Guide:
    place = grammar.start()
    for token in ids:
        place.accept(token)
    return place


def walks(codec: Codec, grammar: CompiledGrammar, before: list[int], path: list[int]) -> bool:
    place = started(grammar, before)
    for at, token in enumerate(path):
        if not place.allows(token) or (at and path[at - 1] in codec.eos_ids):
            return False
        place.accept(token)
    return True


class TestInTheLoop:
    def answer(self, engine: Any, stream: Any, request: Request, draft: Any = None) -> Completion:
        return complete(decode(engine, draft, request, PRICE, stream()))

    @settings(max_examples=100)
    @given(
        schema=values,
        seed=st.integers(0, 2**32),
        skill=st.sampled_from([0.0, 0.7, 1.0]),
        temperature=st.sampled_from([0.0, 1.0]),
        penalty=st.sampled_from([1.0, 1.3]),
        trees=st.booleans(),
        max_tokens=st.integers(1, 60),
    )
    def test_no_draft_changes_the_answer(
        self, codec, grammars, fake_engine, oracle_draft, schema, seed, skill, temperature, penalty,
        trees, max_tokens,
    ):  # fmt: skip
        sampling = Sampling(temperature=temperature, repetition_penalty=penalty, seed=seed)
        request = Request("r", PROMPT, sampling, max_tokens=max_tokens)
        request = replace(request, grammar=grammars.json_schema(schema))

        def engine(**facts: Any) -> Any:
            return fake_engine(VOCAB, eos_ids=codec.eos_ids, trees=trees, **facts)

        plain = self.answer(engine(drafts=False), codec.stream, request)
        assert set(plain.sources) == {"model"}
        draft = oracle_draft(plain.tokens, seed, skill, 12, vocab_size=VOCAB, garbage=skill < 1)
        drafted = self.answer(engine(), codec.stream, request, draft)
        assert (drafted.tokens, drafted.text) == (plain.tokens, plain.text)
        if plain.finish_reason == "stop":
            assert jsonschema_rs.is_valid(schema, json.loads(plain.text))

    def test_forced_tokens_are_drafted(self, codec, grammars, fake_engine):
        """Letters that no merge joins: there is one way to write them."""
        request = Request("r", PROMPT, grammar=grammars.regex("abc{9}(x|y)cba{9}"))
        engine = fake_engine(VOCAB, eos_ids=codec.eos_ids)
        got = self.answer(engine, codec.stream, request)
        assert re.fullmatch("abc{9}(x|y)cba{9}", got.text)
        assert got.stats.accepted == got.stats.offered == {"grammar": 20 + 2}
        assert got.stats.steps == 2
        assert not engine.open_rows

    def test_refused_drafts_cost_nothing(self, codec, grammars, fake_engine, oracle_draft):
        request = Request("r", PROMPT, grammar=grammars.json_schema({"enum": ["on", "off"]}))
        engine = fake_engine(VOCAB, eos_ids=codec.eos_ids)
        draft = oracle_draft([], skill=0.0, width=30, vocab_size=VOCAB)
        wild = oracle_draft([], skill=0.0, width=30, vocab_size=VOCAB)
        draft.accept = wild.accept = lambda *args: None
        self.answer(engine, codec.stream, request, draft)
        offered = [len(tree) for tree in engine.passes]
        free = fake_engine(VOCAB)
        self.answer(free, codec.stream, Request("r", PROMPT, max_tokens=30), wild)
        assert sum(offered) < 5 * len(offered)
        assert max(len(tree) for tree in free.passes) > 10

    def test_batch_mates_do_not_matter(self, codec, grammars, fake_engine):
        schemas = [{"enum": ["on", "off"]}, {"type": "string", "maxLength": 9}, {"type": "integer"}]
        requests = [
            Request(str(at), PROMPT, Sampling(0.5, seed=at), max_tokens=20, grammar=grammar)
            for at, grammar in enumerate([*map(grammars.json_schema, schemas), None])
        ]
        loop = Loop(fake_engine(VOCAB, eos_ids=codec.eos_ids), None, PRICE)
        scheduler, together = Scheduler(loop, codec.stream), {}
        for request in requests:
            scheduler.add(request)
        while scheduler.running or scheduler.waiting:
            for event in scheduler.step():
                if event.completion:
                    together[event.request.id] = event.completion.tokens
        for request in requests:
            engine = fake_engine(VOCAB, eos_ids=codec.eos_ids)
            alone = self.answer(engine, codec.stream, request)
            assert alone.tokens == together[request.id]

    def test_a_grammar_that_becomes_too_complex_ends_only_its_own_answer(
        self, codec, fake_engine, monkeypatch
    ):
        most = partial(llguidance.LLParserLimits, max_items_in_row=60)
        monkeypatch.setattr(llguidance, "LLParserLimits", most)
        grammar = Grammars(codec).lark('start: a\na: a a | a a a | "x" | "y"')
        loop = Loop(fake_engine(VOCAB, eos_ids=codec.eos_ids, spread=0.1), None, PRICE)
        scheduler, ended = Scheduler(loop, codec.stream), {}
        on = Sampling(1.0, seed=3, logit_bias=tuple((id_, -100.0) for id_ in codec.eos_ids))
        for name, asked in (("bad", grammar), ("good", None)):
            scheduler.add(Request(name, PROMPT, on, max_tokens=60, grammar=asked))
        while scheduler.running or scheduler.waiting:
            ended |= {event.request.id: event for event in scheduler.step()}
        assert "cannot go on under its grammar" in str(ended["bad"].error)
        assert len(ended["good"].completion.tokens) == 60
        assert not loop.engine.open_rows
        assert allowed(grammar.start()) == codec.output("xy").tolist()


def test_json_is_one_line_spaced_as_the_model_likes(codec, grammars):
    pretty = grammars.json_schema({"type": "object", "x-guidance": {"whitespace_flexible": True}})
    for text in ('{"a": [1, 2]}', '{"a":[1,2]}', '{"a": [1,2], "b":{}}'):
        assert started(grammars.json_object(), codec.output(text).tolist()).allows(codec.end_id)
    for text in ('{"a":  1}', '{\n "a": 1}', "[1]", ' {"a": 1}', '{"a" : 1}', '{"a": 1 }'):
        with pytest.raises(RequestError, match="cannot go on under its grammar"):
            started(grammars.json_object(), codec.output(text).tolist())
    place = started(pretty, codec.output('{\n\t"a" :[ 1\n]\n}').tolist())
    assert place.allows(codec.end_id)


def test_guesses_follow_the_style_of_the_answer(codec, grammars):
    grammar = grammars.json_schema(
        {"type": "object", "properties": {"aa": {"const": 1}, "bb": {"const": 2}},
         "required": ["aa", "bb"], "additionalProperties": False}
    )  # fmt: skip

    def guess(text: str) -> str:
        return codec.decode(started(grammar, codec.output(text).tolist()).forced())

    assert guess("") == '{"aa": 1, "bb": 2}'
    assert guess('{"aa":') == ' 1, "bb": 2}'
    assert guess('{"aa":1') == ',"bb":2}'
    assert guess('{"aa": 1, ') == '"bb": 2}'
    # with new tokens, one that begins with the quote may go on behind the colon
    assert guess('{"aa":1, ') == ('"bb' if codec.new_tokens else '"bb":')


def test_x_guidance_in_a_schema_wins(codec, grammars):
    schema = {"type": "array", "items": {"const": 1}, "x-guidance": {"item_separator": ";"}}
    assert started(grammars.json_schema(schema), codec.output("[1;1]").tolist()).allows(
        codec.end_id
    )


def test_forced_text_is_spelled_as_the_tokenizer_does(codec, grammars):
    place, own = grammars.regex("the thin (x|y)").start(), codec.output("the thin ").tolist()
    for token in own[:-1]:
        assert allowed(place) == [token]
        place.accept(token)
    free = grammars.regex("the .*")
    assert not free.start().allows(codec.output("t")[0])
    place = started(free, codec.output("the ").tolist())
    assert place.allows(codec.output("t")[0])
    assert place.allows(codec.output("th")[0])


def test_special_tokens_are_no_way_to_spell_text(codec, grammars):
    place = grammars.json_schema({"const": "<|im_end|>"}).start()
    place.accept(codec.output('"')[0])
    assert allowed(place) == codec.output("<").tolist()
    assert place.admits(place.forced(), range(-1, len(place.forced()) - 1))[0] is False


def test_only_the_end_may_follow_a_whole_answer(codec, grammars):
    place = started(grammars.regex("a|ab"), codec.output("ab").tolist())
    assert allowed(place) == sorted(codec.eos_ids)
    place.accept(codec.end_id)
    assert allowed(place) == sorted(codec.eos_ids)
    assert place.forced() == []


def test_the_ids_that_end_an_answer_may_be_other_than_the_codecs(codec):
    place = started(Grammars(codec, [263]).regex("a"), codec.output("a").tolist())
    assert allowed(place) == [263]


def test_an_id_that_may_not_come_is_an_error(codec, grammars):
    place = grammars.regex("ab").start()
    with pytest.raises(RequestError, match="the answer cannot go on under its grammar"):
        place.accept(codec.output("b")[0])
    with pytest.raises(RequestError, match="cannot go on"):
        place.mask(np.zeros(VOCAB, np.float32))
    assert not place.allows(codec.output("a")[0])
    assert grammars.regex("ab").start().allows(codec.output("a")[0])


def test_compiled_grammars_are_kept(grammars):
    assert grammars.regex("ab") is grammars.regex("ab")
    assert grammars.json_schema({"const": 1}) is grammars.json_schema('{"const":1}')
    assert grammars.json_schema({"const": 1}) is not grammars.json_schema({"const": 2})


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ("{", "the schema is not JSON"),
        ("[1]", "is no JSON object"),
        ({"a": {1, 2}}, "the schema is not JSON"),
        ({"x-guidance": 3}, "x-guidance in the schema is no object"),
        ({"x-guidance": {"colour": 3}}, "unknown field `colour`"),
        ({"type": "objet"}, "Invalid type: objet"),
        ({"not": {}}, 'Unimplemented keys: \\["not"\\].*"lenient": true'),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around.*is not supported"),
        ({"$ref": "http://example.org/schema"}, "is not present in a registry"),
        ({"enum": []}, "Unsatisfiable schema"),
        ({"enum": [str(n) * 9 for n in range(99_999)]}, "too big"),
        ('{"a":' * 100_000 + "}" * 100_000, "the schema is not JSON"),
    ],
)  # fmt: skip
def test_bad_schemas_are_refused(grammars, schema, what):
    with pytest.raises(RequestError, match=what) as refused:
        grammars.json_schema(schema)
    assert refused.value.remedy
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pattern", ["(a", "(?=a)b", r"(a)\1", r"\bab"])
def test_bad_patterns_are_refused(grammars, pattern):
    with pytest.raises(RequestError, match=r"regular expression cannot be used.*Rust") as refused:
        grammars.regex(pattern)
    assert "\n" not in str(refused.value)


def test_patterns_match_from_beginning_to_end(codec, grammars):
    for pattern, text in [("a/b", "a/b"), ("a\nb", "a\nb"), (r"\d{2}ä+", "12ää"), ("^[^/]$", "#")]:
        place = started(grammars.regex(pattern), codec.output(text).tolist())
        assert place.allows(codec.end_id)
    assert not grammars.regex("a").start().allows(codec.output("b")[0])


def test_bad_lark_is_refused_with_its_line(grammars):
    with pytest.raises(RequestError, match=r"at 2\(4\): unknown name: .foo."):
        grammars.lark('start: a\na: foo "x"')


def test_without_llguidance_the_remedy_says_so(codec, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(RequestError, match=r"need llguidance.*grammar"):
        Grammars(codec)


def test_tokenizers_with_gaps_and_without_bytes():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: at + 20 * (at > 99) for at, letter in enumerate(letters)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<end>", special=True)])
    codec = Codec(backend, None, [backend.token_to_id("<end>")])
    place = started(Grammars(codec).regex("(?s:.)*"), codec.output("xyz").tolist())
    assert not {*range(100, 120)} & set(allowed(place))
    assert place.allows(codec.end_id)

    words = Tokenizer(models.WordLevel({"a": 0, "<end>": 1}, unk_token="a"))
    with pytest.raises(RequestError, match="cannot read the model's tokenizer"):
        Grammars(Codec(words, None, [1]))
