import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.adapt.tailor.needs import needs
from tascel.adapt.tailor.scripts import foreign, scripts
from tascel.adapt.tailor.select import Filters, Selector, always, frequent
from tascel.codec import Codec
from tascel.errors import RequestError, TraceError
from tascel.traces.folds import folds, held_out_ways
from tascel.types import Trace


def trace(prompt, answer, group=None):
    said = None if answer is None else {"role": "assistant", "content": answer}
    return Trace(({"role": "user", "content": prompt},), said, group=group)


def household(count=60, groups=None):
    rooms, things = ("hall", "kitchen", "café", "loft"), ("lamp", "fan", "heater")
    return [
        trace(
            f"please {i} switch the {things[i % 3]} in the {rooms[i % 4]}",
            f'{{"thing": "{things[i % 3]}", "zone": "{rooms[i % 4].upper()}", "n": {i % 7}}}',
            None if groups is None else f"g{i % groups}",
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def codec(tokenizer):
    return Codec.from_tokenizer(tokenizer)


@given(st.lists(st.integers(0, 9), max_size=60), st.floats(0, 30))
def test_tolerance_drops_the_rarest_as_long_as_it_may(counts, spared):
    kept = frequent(np.array(counts, np.int64), spared)
    dropped = 0
    expected = np.ones(len(counts), bool)
    for id_ in sorted(range(len(counts)), key=lambda id_: (counts[id_], -id_)):
        dropped += counts[id_]
        if dropped > spared:
            break
        expected[id_] = False
    assert kept.tolist() == expected.tolist()


def by_hand(traces, codec, filters):
    """The selection with sets and loops."""
    seen = {}
    for one in traces:
        ids = set(codec.answer(one).tolist())
        if filters.input_aware:
            ids -= set(codec.prompt(one.messages).tolist())
        for id_ in ids:
            seen[id_] = seen.get(id_, 0) + 1
    spared, kept = filters.tolerance * len(traces), set(always(codec).tolist())
    for id_ in sorted(seen, key=lambda id_: (seen[id_], -id_)):
        spared -= seen[id_]
        if spared < 0:
            kept.add(id_)
    return kept


@pytest.mark.parametrize("input_aware", [True, False])
@pytest.mark.parametrize("tolerance", [0, 0.05, 0.5, 3])
@pytest.mark.parametrize("groups", [None, 4])
def test_the_selection_and_what_it_covers(codec, input_aware, tolerance, groups):
    traces = household(groups=groups)
    filters = Filters(input_aware, tolerance=tolerance)
    selection, coverage = Selector(needs(traces, codec), codec).select(filters)
    assert selection.ids.dtype == np.int32
    assert set(selection.ids.tolist()) == by_hand(traces, codec, filters)
    assert (selection.traces, selection.vocab_size) == (60, codec.vocab_size)
    assert len(coverage.held_out) == (1 if groups is None else 2)
    for way, shares in zip(held_out_ways(traces), coverage.held_out, strict=True):
        missed = tokens = uncovered = 0
        fold = folds(way, 5)
        for at in set(fold.tolist()):
            static = by_hand(
                [t for t, f in zip(traces, fold, strict=True) if f != at], codec, filters
            )
            for one in (t for t, f in zip(traces, fold, strict=True) if f == at):
                answer = codec.answer(one).tolist()
                there = static | set(codec.prompt(one.messages).tolist())
                misses = sum(id_ not in there for id_ in answer)
                missed, tokens, uncovered = (
                    missed + misses, tokens + len(answer), uncovered + (misses > 0),
                )  # fmt: skip
        assert shares.misses == pytest.approx(missed / tokens)
        assert shares.covered == pytest.approx(1 - uncovered / 60)
    assert (selection.misses, selection.covered) == (
        coverage.held_out[0].misses, coverage.held_out[0].covered,
    )  # fmt: skip
    on_average = np.mean(
        [len(set(codec.prompt(t.messages).tolist()) - set(selection.ids.tolist())) for t in traces]
    )
    assert coverage.prompt_rows == pytest.approx(on_average)


def test_more_tolerance_never_keeps_more(codec):
    selector = Selector(needs(household(), codec), codec)
    points = selector.coverage(Filters(), (0, 0.1, 0.3, 1, 5, 100))
    rows = [point.rows for point in points]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] == len(selector.always)


def test_whole_traces_need_prompts_and_answers(codec):
    traces = household()
    selector = Selector(needs(traces, codec), codec)
    every = {id_ for t in traces for id_ in (*codec.prompt(t.messages), *codec.answer(t))}
    assert set(selector.texts(0).tolist()) == every
    fewer = set(selector.texts(0.5).tolist())
    assert fewer < every
    lacking = [
        len({*codec.prompt(t.messages).tolist(), *codec.answer(t).tolist()} - fewer) for t in traces
    ]
    assert np.mean(lacking) <= 0.5


def test_bytes_special_tokens_and_new_ones_are_always_there(make):
    from tascel.adapt.tokens.vocabulary import Vocabulary

    base = make("Qwen2")
    extended, new = Vocabulary(base).extend([[40, 41], [50, 51]])
    codec = Codec.from_tokenizer(extended)
    there = set(always(codec).tolist())
    assert new.runs.keys() <= there
    assert set(extended.all_special_ids) | codec.eos_ids <= there
    bytes_ = {codec.tokenizer.token_to_id(chr(at)) for at in range(0x21, 0x7F)}
    assert bytes_ <= there
    assert len(there) == 256 + 3 + 2


@pytest.mark.parametrize(("name", "bytes_"), [("Llama 2", 256), ("XLM-R", 0)])
def test_bytes_and_the_unknown_piece_of_sentencepiece(make, name, bytes_):
    base = make(name)
    there = set(always(Codec.from_tokenizer(base)).tolist())
    assert base.unk_token_id in there
    assert sum(base.convert_ids_to_tokens(id_).startswith("<0x") for id_ in there) == bytes_


def test_scripts_of_texts():
    assert scripts("naïve 12 €, {}\n\t🙂_") == {"LATIN"}
    assert scripts("日本語 かな") == {"CJK", "HIRAGANA"}
    assert scripts("e\u0301") == {"LATIN"}
    assert scripts("Ω и") == {"GREEK", "CYRILLIC"}
    assert scripts("\ufffd \x00 ·") == set()


def test_letters_of_an_accidental_script_are_dropped(make):
    codec = Codec.from_tokenizer(make("Gemma"))
    traces = [trace(f"q{i}", "turn on the light, größe 12") for i in range(150)]
    traces.append(trace("odd", "turn on the 名"))
    read = needs(traces, codec)
    odd = codec.tokenizer.token_to_id("名")
    assert odd in read.answers.id
    from tascel.token_bytes import TokenBytes

    found = np.flatnonzero(foreign(read.answers, TokenBytes(codec.tokenizer), codec.vocab_size))
    assert odd in found
    assert all("名" in codec.tokenizer.id_to_token(int(id_)) for id_ in found)
    selector = Selector(read, codec)
    with_it, _ = selector.select(Filters(scripts=False, tolerance=0))
    without, _ = selector.select(Filters(tolerance=0))
    assert {*with_it.ids.tolist()} - {*without.ids.tolist()} == {*found.tolist()}


def test_a_single_trace_covers_nothing_that_is_held_out(codec):
    _, coverage = Selector(needs(household(1), codec), codec).select(Filters())
    assert coverage.held_out[0].covered == 0


def test_bad_input(codec):
    with pytest.raises(RequestError, match="bad tolerance"):
        Filters(tolerance=-1)
    with pytest.raises(RequestError, match="bad tolerance"):
        Filters(tolerance=float("nan"))
    with pytest.raises(TraceError, match="no trace has an answer"):
        needs([trace("a", None)], codec)
