"""From a stream of traces to records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.errors import RequestError, TascelError, TraceError
from tascel.records import Records
from tascel.traces.read import BadLines
from tascel.types import Ids, Trace

#: Traces that become records at a time.
_CHUNK = 1024


def of_split(traces: Iterable[Trace], split: str) -> Iterator[Trace]:
    """The traces of one split; those that name no split belong to every one."""
    return (trace for trace in traces if trace.split in (None, split))


def read_records(
    traces: Iterable[Trace],
    codec: Codec,
    take: Callable[[Records], None],
    progress: Progress,
    now: float | None = None,
) -> dict[str, int]:
    """Read those for training and give them to `take`, some at a time.

    Args:
        now: what a trace counts as that names no time; default: the time it is.

    Returns:
        How many `traces` were taken, and how many were `refused` by the chat template.

    Raises:
        TraceError: none is for training, or all were refused.
    """
    refused, seen = BadLines(), 0

    def count(some: Records) -> None:
        nonlocal seen
        take(some)
        seen += len(some)
        progress("reading traces", seen, None)

    some_records(traces, codec, count, refused.add, time.time() if now is None else now)
    if refused.first and not seen:
        raise TraceError(refused.first.what, refused.first.remedy)
    if not seen:
        raise none_for_training()
    return {"traces": seen, "refused": refused.count}


def some_records(
    traces: Iterable[Trace],
    codec: Codec,
    take: Callable[[Records], None],
    refused: Callable[[TascelError], None],
    now: float,
) -> None:
    """`read_records`, of a part of a stream: nothing is too few."""
    stream = _pairs(traces, codec, refused)
    while chunk := list(islice(stream, _CHUNK)):
        take(
            Records.of(
                [prompt for _, prompt, _ in chunk],
                [output for _, _, output in chunk],
                [now if trace.time is None else trace.time for trace, _, _ in chunk],
                tasks=[trace.task or None for trace, _, _ in chunk],
                groups=[trace.group for trace, _, _ in chunk],
            )
        )


def none_for_training() -> TraceError:
    """Traces, but of other splits."""
    return TraceError(
        "none of the traces is for training",
        'Leave out `split`, or set it to "train" in the traces to learn from',
    )


def _pairs(
    traces: Iterable[Trace], codec: Codec, refused: Callable[[TascelError], None]
) -> Iterator[tuple[Trace, Ids, Ids]]:
    """Each trace with its prompt and output; what the template refuses is left out."""
    for trace, output in codec.answers(of_split(traces, "train"), refused):
        try:
            yield trace, codec.prompt(trace.messages, trace.tools), output
        except RequestError as error:
            refused(error)
