"""Reading a file of a model's own answers, as `generate` and `bench` write it, to replay them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from tascel.bench.examples import labelled
from tascel.codec import Codec
from tascel.decode.forced import Example
from tascel.errors import RequestError, TascelError, TraceError
from tascel.traces.record import why
from tascel.types import Ids, Trace

_REMEDY = "Give the file that `generate -o` or `bench --answers` wrote for these very prompts"


def spelled(codec: Codec, ids: Iterable[int]) -> str:
    """The text of an answer as it is streamed."""
    stream = codec.stream()
    pieces = [stream.push(id_) for id_ in ids]
    return "".join(pieces) + stream.flush()


def completed(
    codec: Codec,
    traces: Iterable[Trace],
    path: str | Path,
    limit: int | None = None,
    on_bad: Callable[[TascelError], None] | None = None,
) -> list[Example]:
    """The prompts of `traces` with a model's own answers, exactly as its file has them.

    The lines, at most `limit` of them, answer these prompts in order; prompts without a line are
    left out. Where a line has no ids its text is tokenised, with a closing id unless it ended at
    its longest. With `on_bad` lines without an answer are left out.

    Raises:
        TraceError: the file answers other prompts, or none, or with another tokenizer's ids.
    """
    found: list[Example] = []
    stream = iter(traces)
    for place, record in islice(_records(Path(path)), limit):
        trace = next((t for t in stream if t.prompt_text == record.get("prompt")), None)
        if trace is None:
            raise TraceError(f"{place}: answers another prompt", f"{_REMEDY}, with its --split")
        try:
            found.append(_example(codec, trace, record, place))
        except (TraceError, RequestError) as error:
            if on_bad is None:
                raise
            on_bad(error)
    if not found:
        raise TraceError(f"{path}: holds no answer to replay", _REMEDY)
    return found


def _example(codec: Codec, trace: Trace, record: Mapping[str, Any], place: str) -> Example:
    text = record.get("output")
    if not isinstance(text, str):
        raise TraceError(f"{place}: holds no answer", "Leave it out with --skip-bad")
    if "ids" in record:
        ids = _ids(record["ids"])
        if ids is None or not spelled(codec, ids.tolist()).startswith(text):
            raise TraceError(
                f"{place}: its ids do not spell its output with this bundle's tokenizer",
                "Take a bundle of the model that wrote it, or remove the ids",
            )
        return Example(codec.prompt(trace.messages, trace.tools), ids, trace.prompt_text)
    answered = replace(trace, answer={"role": "assistant", "content": text})
    (_, example), *_ = labelled(codec, [answered])
    cut = record.get("finish_reason") == "length" and len(example.output) > 1
    return replace(example, output=example.output[:-1]) if cut else example


def _ids(value: Any) -> Ids | None:
    """The ids of a line, None if they can be nobody's."""
    ids = cast(list[Any], value) if isinstance(value, list) else []
    sound = bool(ids) and all(type(id_) is int and 0 <= id_ < 2**31 for id_ in ids)
    return np.array(ids, np.int32) if sound else None


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                place = f"{path}:{number}"
                try:
                    record: Any = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise TraceError(f"{place}: {why(error)}", _REMEDY) from None
                if not isinstance(record, dict):
                    raise TraceError(f"{place}: not an object", _REMEDY)
                yield place, record
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: {why(error)}", _REMEDY) from None
    except OSError as reason:
        raise TraceError(f"{path}: cannot be read ({reason.strerror})", _REMEDY) from None
