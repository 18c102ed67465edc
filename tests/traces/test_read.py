"""Trace files: every shape that is read; every damage is named by file, line and reason."""

import errno
import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.errors import TraceError
from tascel.traces import read
from tascel.traces.read import BadLines, read_traces

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
GOOD = {"prompt": "turn on the lamp", "output": "on(lamp)"}
CALL = {"id": "1", "type": "function", "function": {"name": "on", "arguments": '{"x": null}'}}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "turn on "}, {"text": "the lamp"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ],
    "tools": [{"type": "function", "function": {"name": "on", "parameters": {}}}],
    "task": "home",
    "split": "train",
    "group": 7,
    "latency_ms": 12.5,
}


def lines(path: Path, *records) -> Path:
    path.write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in records))
    return path


def refused(path, **options) -> TraceError:
    with pytest.raises(TraceError) as caught:
        list(read_traces(path, **options))
    assert caught.value.remedy
    return caught.value


def test_prompt_and_output(tmp_path):
    (trace,) = read_traces(lines(tmp_path / "t.jsonl", GOOD | {"system": "Be brief.", "id": 3}))
    assert trace.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "turn on the lamp"},
    )
    assert trace.answer == {"role": "assistant", "content": "on(lamp)"}
    assert (trace.task, trace.split, trace.group, trace.tools) == (None, None, None, None)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (None, None),
        (1_700_000_000, 1.7e9),
        (12.5, 12.5),
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00:00Z", 3600.0),
        ("1970-01-01 01:00:00.5", 3600.5),
        ("1970-01-01T01:00:00+02:00", -3600.0),
    ],
)
def test_times(tmp_path, time, seconds):
    (trace,) = read_traces(lines(tmp_path / "t.jsonl", GOOD | {"time": time}))
    assert trace.time == seconds


def test_parquet_has_times_of_its_own(tmp_path):
    for zone in (UTC, None):
        at = datetime(1970, 1, 2, tzinfo=zone)
        pq.write_table(pa.Table.from_pylist([GOOD | {"time": at}]), tmp_path / "t.parquet")
        (trace,) = read_traces(tmp_path / "t.parquet")
        assert trace.time == 86_400.0


def test_messages_with_tools(tmp_path):
    (trace,) = read_traces(lines(tmp_path / "t.jsonl", CHAT))
    assert [m["role"] for m in trace.messages] == ["system", "user"]
    assert trace.prompt_text == "turn on the lamp"
    assert trace.answer == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert trace.tools == tuple(CHAT["tools"])
    assert (trace.task, trace.split, trace.group) == ("home", "train", "7")


def test_last_assistant_turn_is_the_answer(tmp_path):
    turns = [{"role": r, "content": str(i)} for i, r in enumerate(("user", "assistant") * 2)]
    turns.append({"role": "user", "content": "thanks"})
    path = lines(tmp_path / "t.jsonl", {"messages": turns})
    (trace,) = read_traces(path)
    assert [m["content"] for m in trace.messages] == ["0", "1", "2"]
    assert trace.answer == turns[3]
    (prompt,) = read_traces(path, need_answer=False)
    assert prompt.messages == tuple(turns)
    assert prompt.answer is None


def test_prompts_keep_an_answer_they_have(tmp_path):
    path = lines(tmp_path / "t.jsonl", GOOD, {"prompt": "and off"})
    first, second = read_traces(path, need_answer=False)
    assert first.answer == {"role": "assistant", "content": "on(lamp)"}
    assert second.answer is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (["a", "list"], "not an object but a list"),
        (3, "not an object but a number"),
        ({}, "has neither `prompt` nor `messages`, only nothing"),
        ({"input": "x", "target": "y"}, "only `input`, `target`"),
        ({"prompt": "x"}, "has no `output`, only `prompt`"),
        ({"prompt": 3, "output": "y"}, "`prompt` is a number, not text"),
        ({"prompt": "x", "output": None}, "has no `output`"),
        ({"prompt": "x", "output": {"a": 1}}, "`output` is an object, not text"),
        (GOOD | {"task": 1.5}, "`task` is a number, not text"),
        (GOOD | {"tools": {}}, "`tools` is an object, not a list"),
        (GOOD | {"tools": ["x"]}, "`tools` holds something that is not an object"),
        ({"messages": {}}, "`messages` is an object, not a list"),
        ({"messages": []}, "`messages` is empty"),
        ({"messages": ["hi"]}, "`messages` holds a text where a message belongs"),
        ({"messages": [{"content": "hi"}]}, "a message has no `role`"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "no assistant turn"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "no turn before the answer"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant"}]},
            "neither `content` nor `tool_calls`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "a part that is not text",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": "on"}]}]},
            "a tool call has no function with a `name`",
        ),
        (CHAT | {"system": "twice"}, "both `system` and a system message"),
        (GOOD | {"time": "soon"}, "`time` is 'soon', no date and time of ISO 8601"),
        (GOOD | {"time": True}, "`time` is a boolean, neither seconds nor a text"),
        (GOOD | {"time": [1]}, "`time` is a list, neither seconds nor a text"),
        (GOOD | {"time": 1e999}, "`time` is inf, which is no number of seconds"),
        (GOOD | {"time": 1.7e12}, "which is no number of seconds"),
    ],
)
def test_wrong_records(tmp_path, record, reason):
    error = refused(lines(tmp_path / "t.jsonl", GOOD, record))
    assert error.what.startswith(f"{tmp_path / 't.jsonl'}:2: ")
    assert reason in error.what


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "x", "output"', "not JSON"),
        (b'{"prompt": "\xff", "output": "y"}', "not UTF-8 at byte 13"),
        (b'{"prompt": "\\ud800", "output": "y"}', "half a surrogate pair"),
        (b'{"prompt": "x", "output": "y", "n": ' + b"9" * 5000 + b"}", "4300"),
        (b"[" * 200_000, "nested too deeply"),
        (b"plain text", "not JSON"),
    ],
)
def test_wrong_lines(tmp_path, line, reason):
    path = lines(tmp_path / "t.jsonl", GOOD)
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    error = refused(path)
    assert error.what.startswith(f"{path}:2: ")
    assert reason in error.what
    bad = BadLines()
    assert len(list(read_traces(path, skip_bad=True, on_bad=bad.add))) == 2
    assert bad.count == 1
    assert str(bad) == f"left out 1 bad record, the first at {error.what}"


def test_blank_lines_bom_and_crlf(tmp_path):
    line = json.dumps(GOOD).encode()
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n \n" + line)
    assert len(list(read_traces(path))) == 2
    path.write_bytes(b"\r\n" + line + b"\r\noops\r\n")
    assert f"{path}:3: not JSON" in refused(path).what


def test_a_long_line(tmp_path):
    (trace,) = read_traces(lines(tmp_path / "t.jsonl", {"prompt": "x" * 5_000_000, "output": ""}))
    assert len(trace.prompt_text) == 5_000_000
    assert trace.answer == {"role": "assistant", "content": ""}


def test_a_line_beyond_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "LONGEST_LINE", 1 << 20)
    path = lines(tmp_path / "t.jsonl", GOOD, {"prompt": "x" * (1 << 20), "output": ""})
    assert f"{path}:2: the line is longer than 1 MB" in refused(path, skip_bad=True).what


@pytest.mark.parametrize("content", [b"", b"\n\n", b"oops\n"])
def test_nothing_good_inside(tmp_path, content):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    assert "holds no traces" in refused(path, skip_bad=True).what


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\x02\x01\x01\x00\x00",
        json.dumps(GOOD).encode("utf-16"),
        gzip.compress(gzip.compress(b"{}")),
    ],
)
def test_binary_files(tmp_path, content):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    assert "is a binary file" in refused(path, skip_bad=True).what


def test_paths(tmp_path):
    (tmp_path / "deep").mkdir()
    lines(tmp_path / "b.jsonl", GOOD | {"task": "b"})
    lines(tmp_path / "deep" / "c.jsonl", GOOD | {"task": "c"})
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    (tmp_path / "README.md").write_text("not traces")
    (tmp_path / ".hidden.jsonl").write_text("not traces")
    assert [t.task for t in read_traces(tmp_path)] == [None, "b", "c"]
    assert [t.task for t in read_traces(f"{tmp_path}/**/[bc].jsonl")] == ["b", "c"]
    assert "no such file" in refused(tmp_path / "missing.jsonl").what
    (tmp_path / "empty").mkdir()
    assert ".jsonl" in refused(tmp_path / "empty").remedy


def test_unreadable_file(tmp_path, monkeypatch):
    path = lines(tmp_path / "t.jsonl", GOOD)

    def deny(self, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", deny)
    assert refused(path).what == f"{path}: cannot be read (Permission denied)"


def test_reads_from_a_pipe(tmp_path):
    code = "from tascel.traces.read import *; assert len(list(read_traces('/dev/stdin'))) == 1"
    data = gzip.compress(json.dumps(GOOD).encode())
    subprocess.run([sys.executable, "-c", code], input=data, check=True)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 300))
def test_truncated_gzip(tmp_path_factory, cut):
    whole = gzip.compress(os.urandom(300).hex().encode().join([b'{"prompt":"', b'","output":""}']))
    path = tmp_path_factory.mktemp("gz") / "t.jsonl.gz"
    path.write_bytes(whole[:-cut])
    assert "cut off" in refused(path, skip_bad=True).what


RECORDS = st.lists(
    st.builds(
        lambda p, o, s, g: {"prompt": p, "output": o, "system": s, "group": g},
        TEXT, TEXT, st.none() | TEXT, st.none() | TEXT,
    ),
    min_size=1,
    max_size=600,
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(records=RECORDS)
def test_formats_agree(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("formats")
    plain = lines(folder / "t.jsonl", *records)
    whole = plain.read_bytes()
    (folder / "t.jsonl.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with (folder / "t.jsonl.gz").open("ab") as more:  # gzip members may be concatenated
        more.write(gzip.compress(whole[len(whole) // 2 :]))
    pq.write_table(pa.Table.from_pylist(records), folder / "t.parquet", row_group_size=100)
    packed = gzip.compress((folder / "t.parquet").read_bytes())
    (folder / "t.parquet.gz").write_bytes(packed)
    traces = list(read_traces(plain))
    assert [t.answer["content"] for t in traces] == [r["output"] for r in records]
    for name in ("t.jsonl.gz", "t.parquet", "t.parquet.gz"):
        assert list(read_traces(folder / name)) == traces


def test_parquet_messages(tmp_path):
    text = {"messages": json.dumps(CHAT["messages"]), "tools": json.dumps(CHAT["tools"])}
    nested = [*CHAT["messages"][:1], {"role": "user", "content": "turn on the lamp"}]
    pq.write_table(pa.Table.from_pylist([text | {"blob": b"\xff"}]), tmp_path / "a.parquet")
    answer = CHAT["messages"][2]
    pq.write_table(pa.Table.from_pylist([{"messages": [*nested, answer]}]), tmp_path / "b.parquet")
    first, second = read_traces(tmp_path)
    assert first.messages == second.messages
    assert (
        first.answer == second.answer == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    )
    assert first.tools == tuple(CHAT["tools"])


def test_parquet_bad_rows(tmp_path):
    path = tmp_path / "t.parquet"
    prompts = pa.array([b"good", b"\xff", None]).cast(pa.binary())
    table = pa.table({"prompt": pa.Array.from_buffers(pa.string(), 3, prompts.buffers()),
                      "output": ["", "", ""]})  # fmt: skip
    pq.write_table(table, path)
    assert f"{path}: row 2: not UTF-8" in refused(path).what
    bad = BadLines()
    assert len(list(read_traces(path, skip_bad=True, on_bad=bad.add))) == 1
    assert bad.count == 2
    pq.write_table(pa.table({"prompt": [1], "output": [2]}), path)
    assert "row 1: `prompt` is a number" in refused(path).what
    pq.write_table(pa.table({"text": ["x"]}), path)
    assert "neither `prompt` nor `messages`" in refused(path).what


@settings(max_examples=30, deadline=None)
@given(keep=st.floats(0.01, 0.99))
def test_truncated_parquet(tmp_path_factory, keep):
    path = tmp_path_factory.mktemp("pq") / "t.parquet"
    pq.write_table(pa.Table.from_pylist([GOOD] * 50), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(4, int(len(whole) * keep))])
    assert "damaged" in refused(path, skip_bad=True).what


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([GOOD]), path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refused(path).remedy == "pip install 'tascel[parquet]'"


def test_streams(tmp_path):
    path = lines(tmp_path / "t.jsonl", GOOD)
    path.write_bytes(path.read_bytes() + b"oops\n")
    traces = read_traces(path)
    assert next(traces).prompt_text == "turn on the lamp"  # before the bad line is looked at
    with pytest.raises(TraceError):
        next(traces)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_end_in_traces_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceError):
        list(read_traces(path))
