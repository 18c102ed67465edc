"""Mining: the incremental index against counting everything again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tascel.adapt.tokens import reference
from tascel.adapt.tokens.mining import (
    COLLIDES,
    CROSSES,
    SAME_TEXT,
    TOO_LONG,
    Mined,
    MiningConfig,
    mine,
)
from tascel.errors import RequestError

TEXTS = [b"a", b"ab", b" b", b" ", b"b", b"aba"]
NEVER = 9


def spell(id_: int) -> bytes:
    return TEXTS[id_]


def odd(run: tuple[int, ...]) -> str | None:
    return "odd" if sum(run) % 7 == 3 else None


ids = st.sampled_from([*range(len(TEXTS)), 0, 0, 1, NEVER])
corpora = st.lists(st.lists(ids, max_size=25), max_size=6)
repeated = st.tuples(corpora, st.integers(1, 3)).map(lambda drawn: drawn[0] * drawn[1])
configs = st.builds(
    MiningConfig,
    size=st.integers(0, 12),
    n_max=st.integers(2, 5),
    longest=st.sampled_from([2, 5, 32]),
    cross_words=st.booleans(),
    collision=st.sampled_from(["conditional", "formula"]),
    alpha=st.sampled_from([0.05, 0.3, 0.5, 1.0]),
    least_uses=st.integers(2, 5),
)


def arrays(outputs: list[list[int]]) -> list[np.ndarray]:
    return [np.array(output, np.int32) for output in outputs]


@given(repeated, configs, st.booleans())
@example([[0] * 9, [0] * 6], MiningConfig(size=3, n_max=2), False)  # overlaps are counted once
def test_equal_to_counting_everything_at_every_step(
    outputs: list[list[int]], config: MiningConfig, choosy: bool
) -> None:
    refuse: Callable[[tuple[int, ...]], str | None] = odd if choosy else lambda run: None
    mined = mine(arrays(outputs), config, spell, refuse, {NEVER})
    assert mined == reference.mine(outputs, config, spell, refuse, {NEVER})


def mined_of(text: str, config: MiningConfig, times: int = 10) -> Mined:
    """Of a text whose characters are its tokens."""
    output = np.array([ord(char) for char in text], np.int32)
    return mine([output] * times, config, lambda id_: chr(id_).encode())


def text_of(run: tuple[int, ...]) -> str:
    return "".join(map(chr, run))


def test_the_most_saving_first_and_longer_than_n_max_by_and_by() -> None:
    mined = mined_of("abcdefgh", MiningConfig(size=3, n_max=4))
    assert [text_of(run) for run in mined.runs] == ["abcd", "efgh", "abcdefgh"]
    assert not mined.refused


def test_refusals_are_told_by_reason() -> None:
    assert mined_of("abcd", MiningConfig(longest=3)).reasons == {TOO_LONG: 2}  # abcd, then abc d
    mined = mined_of("ab cd", MiningConfig(cross_words=False))
    assert mined.reasons[CROSSES] > 0
    assert all(len(text_of(run).split()) < 2 for run in mined.runs)
    refused = mine(
        [np.array([0, 1], np.int32)] * 5, MiningConfig(), spell, lambda run: "no"
    ).refused
    assert refused == [((0, 1), 5, "no")]


def test_two_ways_to_spell_one_text_are_one_token() -> None:
    outputs = [[0, 4], [1, 3], [0, 4, 3]] * 5  # "ab", "ab "
    mined = mine(arrays(outputs), MiningConfig(), lambda id_: [b"a", b"ab", b"", b" ", b"b"][id_])
    assert mined.reasons == {SAME_TEXT: 1}


@pytest.mark.parametrize(("alpha", "runs"), [(0.5, []), (0.7, [(2, 0)]), (1.0, [(2, 0)])])
def test_what_others_begin_with_collides(alpha: float, runs: list[tuple[int, ...]]) -> None:
    # after ` b`, `a` stands twice and begins `ab` and `aba`, which stand three times
    outputs = [[2, 0], [2, 0], [2, 1], [3, 2, 1], [4, 2, 5]]
    mined = mine(arrays(outputs), MiningConfig(alpha=alpha), spell)
    assert [run for run in mined.runs if run == (2, 0)] == runs
    assert any(refused.why == COLLIDES for refused in mined.refused) == (not runs)


@pytest.mark.parametrize("outputs", [[], [[]], [[5]], [[1], [1], [2]], [[NEVER] * 4], [[1, 2, 3]]])
def test_nothing_to_mine(outputs: list[list[int]]) -> None:
    assert mine(arrays(outputs), MiningConfig(), spell, never={NEVER}) == Mined([], [])


@pytest.mark.parametrize(
    "bad",
    [
        {"size": -1},
        {"n_max": 1},
        {"longest": 1},
        {"least_uses": 1},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"collision": "both"},
    ],
)
def test_bad_settings(bad: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="bad settings for new tokens"):
        MiningConfig(**bad)  # pyright: ignore[reportArgumentType]
