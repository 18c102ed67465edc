"""From files of traces to requests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tascel.errors import TraceError
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Request, Sampling


def requests(
    runner: Runner,
    path: str,
    split: str,
    limit: int | None = None,
    max_tokens: int = 256,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
    *,
    skip_bad: bool = False,
) -> list[Request]:
    """The prompts at `path` that belong to `split` or name no split, as requests.

    Raises:
        TraceError: no prompt is left.
    """
    traces = read_traces(path, skip_bad=skip_bad, need_answer=False)
    chosen = islice((t for t in traces if t.split in (None, split)), limit)
    found = [
        runner.request(trace.messages, trace.tools, sampling, stop, max_tokens) for trace in chosen
    ]
    if not found:
        raise TraceError(f"{path} has no prompts of split {split!r}", "Choose with --split")
    return found
