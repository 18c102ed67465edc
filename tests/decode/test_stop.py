"""Where answers end, against a character-by-character reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.decode.stop import Stopper


class Pieces:
    """A detokenizer whose ids index a list of texts; flush gives what it was told to."""

    def __init__(self, pieces: list[str], tail: str = "") -> None:
        self.pieces, self.tail = pieces, tail

    def push(self, token: int) -> str:
        return self.pieces[token]

    def flush(self) -> str:
        return self.tail


def reference(text: str, stop: list[str]) -> str | None:
    """The text before the first stop string to complete; None if none does."""
    for end in range(len(text) + 1):
        done = [s for s in stop if text[:end].endswith(s)]
        if done:
            return text[: end - max(map(len, done))]
    return None


words = st.text("ab\u00e9", max_size=4)


@given(
    pieces=st.lists(words, min_size=1, max_size=12),
    stop=st.lists(st.text("ab\u00e9", min_size=1, max_size=4), max_size=3),
    tail=st.sampled_from(["", "a", "\ufffd"]),
)
def test_text_is_cut_where_reading_one_character_at_a_time_would(
    pieces: list[str], stop: list[str], tail: str
) -> None:
    stopper = Stopper((), stop, len(pieces), Pieces(pieces, tail))
    shown = read = ""
    for token, piece in enumerate(pieces):
        assert stopper.reason is None
        shown += stopper.push(token)
        read += piece
        expected = reference(read, stop)
        if expected is not None:
            assert (stopper.reason, shown) == ("stop", expected)
            return
        if token < len(pieces) - 1:
            starts = [s[:n] for s in stop for n in range(1, len(s))]
            held = max((len(s) for s in starts if read.endswith(s)), default=0)
            assert shown == read[: len(read) - held]
    expected = reference(read + tail, stop)
    assert shown == (read + tail if expected is None else expected)
    assert stopper.reason == ("length" if expected is None else "stop")


def test_any_end_id_ends_and_shows_what_was_held() -> None:
    for end in (7, 9):
        stopper = Stopper({7, 9}, ["xyz"], 50, Pieces(["hello x", "y"], tail="\ufffd"))
        assert stopper.push(0) == "hello "
        assert stopper.push(1) == ""
        assert stopper.push(end) == "xy\ufffd"
        assert stopper.reason == "stop"


@pytest.mark.parametrize("tokens", [1, 3])
def test_length(tokens: int) -> None:
    stopper = Stopper({5}, [], tokens, Pieces(["a"]))
    assert [stopper.push(0) for _ in range(tokens)] == ["a"] * tokens
    assert stopper.reason == "length"


def test_end_at_the_last_allowed_token_is_a_stop() -> None:
    stopper = Stopper({5}, [], 1, Pieces([]))
    stopper.push(5)
    assert stopper.reason == "stop"


def test_a_character_split_over_tokens_completes_a_stop_string(byte_stream: Any) -> None:
    stopper = Stopper((), ["\u00e9!"], 50, byte_stream())
    assert [stopper.push(b) for b in "a\u00e9!b".encode()[:4]] == ["a", "", "", ""]
    assert stopper.reason == "stop"
