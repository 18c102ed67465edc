"""From files of traces to known answers for a replay: prompts and answers as ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tascel.bench.forced import Example
from tascel.codec import Codec
from tascel.errors import RequestError, TascelError, TraceError
from tascel.traces.record import why
from tascel.types import Trace

OnBad = Callable[[TascelError], None]
_REMEDY = "Give the file that `tascel generate -o` wrote for these very prompts"


def labelled(
    codec: Codec, traces: Iterable[Trace], on_bad: OnBad | None = None
) -> Iterator[tuple[Trace, Example]]:
    """Each trace with its prompt and answer as ids.

    With `on_bad`, what the chat template refuses is left out and given to it.

    Raises:
        TraceError, RequestError: the template refuses an answer or a prompt.
    """
    for trace, output in codec.answers(traces, on_bad):
        try:
            yield trace, Example(codec.prompt(trace.messages, trace.tools), output)
        except RequestError as error:
            if on_bad is None:
                raise
            on_bad(error)


def examples(codec: Codec, traces: Iterable[Trace], on_bad: OnBad | None = None) -> list[Example]:
    """The known answers of `traces`, as `labelled` reads them.

    Raises:
        TraceError: none is left.
    """
    found = [example for _, example in labelled(codec, traces, on_bad)]
    if not found:
        raise TraceError("no answer is left to replay", "See why with a run without --skip-bad")
    return found


def completed(
    codec: Codec, traces: Iterable[Trace], path: str | Path, on_bad: OnBad | None = None
) -> list[Example]:
    """The prompts of `traces` with a model's own answers, as `tascel generate -o` wrote them.

    The file has one line a prompt, in order. Its text is tokenised again: a model that spells a
    text in other tokens than its tokenizer does is replayed with the tokenizer's. An answer that
    ended at its longest has no closing id. With `on_bad` prompts without an answer are left out.

    Raises:
        TraceError: the file answers other prompts, or holds none of these.
    """
    found: list[Example] = []
    for (place, record), trace in zip(_records(Path(path)), traces, strict=False):
        if record.get("prompt") != trace.prompt_text:
            raise TraceError(f"{place}: answers another prompt", f"{_REMEDY}, with its --split")
        if not isinstance(text := record.get("output"), str):
            error = TraceError(f"{place}: holds no answer", "Leave it out with --skip-bad")
            if on_bad is None:
                raise error
            on_bad(error)
            continue
        answered = replace(trace, answer={"role": "assistant", "content": text})
        for _, example in labelled(codec, [answered], on_bad):
            cut = record.get("finish_reason") == "length" and len(example.output) > 1
            output = example.output[:-1] if cut else example.output
            found.append(Example(example.prompt, output))
    if not found:
        raise TraceError(f"{path}: holds no answer to replay", _REMEDY)
    return found


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
