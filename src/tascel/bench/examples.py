"""From files of traces to known answers for a replay: prompts and answers as ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tascel.codec import Codec
from tascel.decode.forced import Example
from tascel.errors import RequestError, TascelError, TraceError
from tascel.types import Trace

OnBad = Callable[[TascelError], None]


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
            prompt = codec.prompt(trace.messages, trace.tools)
            yield trace, Example(prompt, output, trace.prompt_text)
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
