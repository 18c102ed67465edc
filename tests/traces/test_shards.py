"""Cut anywhere, files hold the same traces."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.errors import TraceError
from tascel.traces import shards
from tascel.traces.read import malformed, read_traces
from tascel.traces.shards import Shard, cut

LINES = st.lists(
    st.one_of(
        st.text(max_size=30).map(lambda text: json.dumps({"prompt": text, "output": "é"})),
        st.just(""),
        st.just("no record"),
    ),
    max_size=12,
)


def shown(traces):
    return [trace.prompt_text for trace in traces]


@given(LINES, st.integers(1, 80), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_shards_are_the_file(tmp_path_factory, lines, size, end, closed, marked):
    file = tmp_path_factory.mktemp("t") / "t.jsonl"
    text = end.join(lines) + (end if closed else "")
    file.write_bytes((b"\xef\xbb\xbf" if marked else b"") + text.encode())
    bad, bad_by_shard = [], []
    whole = []
    with suppress(TraceError):  # not one good record
        whole += (t.prompt_text for t in read_traces(file, skip_bad=True, on_bad=bad.append))
    parts = [
        shown(shard.traces(lambda *said: bad_by_shard.append(malformed(*said))))
        for shard in cut(file, size)
    ]
    assert [prompt for part in parts for prompt in part] == whole
    assert [*map(str, bad_by_shard)] == [*map(str, bad)]  # the lines' numbers, too


def test_parquet_is_cut_between_row_groups(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "t.parquet"
    table = pa.table({"prompt": [f"p{i}" for i in range(20)], "output": ["o"] * 19 + [None]})
    pq.write_table(table, file, row_group_size=3)
    parts = cut(file, 400)
    assert len(parts) > 2
    bad = []
    found = [
        prompt
        for shard in parts
        for prompt in shown(shard.traces(lambda *said: bad.append(malformed(*said))))
    ]
    assert found == [f"p{i}" for i in range(19)]
    assert "row 20:" in str(bad[0])
    assert cut(file) == [Shard(file)]


def test_what_is_gzipped_stays_whole(tmp_path):
    file = tmp_path / "t.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"prompt": "a", "output": "b"}\n' * 100))
    (shard,) = cut(file, 10)
    assert len(shown(shard.traces())) == 100


def test_there_are_not_too_many_shards(tmp_path, monkeypatch):
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "a", "output": "b"}\n' * 1000, encoding="utf-8")
    monkeypatch.setattr(shards, "SIZE", 10)
    monkeypatch.setattr(shards, "MOST", 20)
    found = cut(file)
    assert len(found) == 20
    assert sum(len(shown(shard.traces())) for shard in found) == 1000


def test_a_folder_is_cut_file_by_file(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(
            f'{{"prompt": "{name}", "output": "x"}}\n' * 4, encoding="utf-8"
        )
    parts = cut(tmp_path, 40)
    assert [shard.file.name for shard in parts] == ["a.jsonl"] * 4 + ["b.jsonl"] * 4
    assert [p for s in parts for p in shown(s.traces())] == ["a"] * 4 + ["b"] * 4
    with pytest.raises(TraceError, match="no such file"):
        cut(tmp_path / "nowhere.jsonl")
