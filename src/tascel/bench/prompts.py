"""From files of prompts to requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from tascel.errors import RequestError, TascelError, TraceError
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Request, Sampling, Trace


def prompts(
    path: str,
    split: str,
    limit: int | None = None,
    on_bad: Callable[[TascelError], None] | None = None,
    need_answer: bool = False,
) -> Iterator[Trace]:
    """The prompts at `path` that belong to `split` or name no split, at most `limit` of them.

    With `on_bad` malformed records are left out and given to it; with `need_answer` those without
    an answer are malformed.

    Raises:
        TraceError: no prompt is left.
    """
    traces = read_traces(path, skip_bad=on_bad is not None, on_bad=on_bad, need_answer=need_answer)
    found = False
    for trace in islice((t for t in traces if t.split in (None, split)), limit):
        found = True
        yield trace
    if not found:
        raise TraceError(f"{path} has no prompts of split {split!r}", "Choose with --split")


def requests(
    runner: Runner,
    traces: Iterator[Trace],
    max_tokens: int = 256,
    sampling: Sampling | None = None,
    on_bad: Callable[[TascelError], None] | None = None,
) -> list[tuple[Trace, Request]]:
    """Each prompt with its request; with `on_bad` those that cannot be answered are left out.

    Raises:
        RequestError: a prompt is too long for the model or refused by its chat template.
    """
    found: list[tuple[Trace, Request]] = []
    for number, trace in enumerate(traces, start=1):
        try:
            request = runner.request(
                trace.messages, tools=trace.tools, sampling=sampling, max_tokens=max_tokens
            )
            if len(request.prompt) >= runner.engine.context_limit:
                raise RequestError(
                    f"prompt {number} has {len(request.prompt)} tokens, the model's context "
                    f"{runner.engine.context_limit}",
                    "Shorten it, or leave such prompts out with --skip-bad",
                )
        except RequestError as error:
            if on_bad is None:
                raise
            on_bad(error)
        else:
            found.append((trace, request))
    return found
