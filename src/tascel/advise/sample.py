"""The traces that advice is drawn from, as ids and text: most are learned from, some replayed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tascel.bench.examples import labelled
from tascel.bench.held_out import held_out
from tascel.builder import Progress, silent
from tascel.codec import Codec
from tascel.decode.forced import Example
from tascel.errors import TraceError
from tascel.traces.folds import folds, groups_of
from tascel.traces.read import BadLines
from tascel.types import Ids, Trace

#: One of so many is held out, as `bench.held_out` does.
_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Traces:
    """Traces cut in two, before anybody reads them as ids.

    Attributes:
        read: how many there were, of all splits.
        answered: those of them that have an answer.
        learned, held: what drafts learn from and what they are led along, see `bench.held_out`.
        alike: more to lead them along, of groups that are learned from; empty where `held` are no
            others' groups.
    """

    read: int
    answered: int
    learned: Sequence[Trace]
    held: Sequence[Trace]
    alike: Sequence[Trace]

    @staticmethod
    def of(traces: Iterable[Trace], limit: int) -> Traces:
        """Cut a stream; at most `limit` are held out of each kind.

        Raises:
            TraceError: none has an answer, or they are too few to cut.
        """
        every = [*traces]
        answered = sum(trace.answer is not None for trace in every)
        if every and not answered:
            raise TraceError(
                f"none of the {len(every):,} traces has an answer",
                "Give what was answered, too: `output`, or an assistant turn at the end",
            )
        learned, held = held_out(every, limit)
        valid = any(trace.split == "valid" for trace in held)
        if valid or all(trace.group is None for trace in learned):
            return Traces(len(every), answered, learned, held, ())
        return Traces(len(every), answered, *_divided(learned, held, limit))


def _divided(
    learned: list[Trace], held: list[Trace], limit: int
) -> tuple[list[Trace], list[Trace], list[Trace]]:
    """Traces of groups that others are learned from, held out too: all but their near-duplicates
    stay. Which of the two new traffic is like, nobody knows."""
    fold = folds(groups_of((trace.prompt_text, None) for trace in learned), _FOLDS)
    alike = [trace for trace, at in zip(learned, fold, strict=True) if at == 0]
    rest = [trace for trace, at in zip(learned, fold, strict=True) if at]
    return (rest, held, alike[:limit]) if rest else (learned, held, [])


@dataclass(frozen=True, eq=False)
class Sample:
    """What one tokenizer makes of the traces to learn from.

    Attributes:
        codec: of the model.
        traces, known: them, and each as ids; what the chat template refuses is left out.
        refused: how many that were.
        held: the answers that are not learned from.
    """

    codec: Codec
    traces: Sequence[Trace]
    known: Sequence[Example]
    refused: int
    held: Sequence[Example]

    @staticmethod
    def of(
        codec: Codec,
        traces: Sequence[Trace],
        held: Sequence[Example],
        progress: Progress = silent,
    ) -> Sample:
        """Read traces as ids.

        Raises:
            TraceError: the chat template refuses all of them.
        """
        refused, kept, known = BadLines(), list[Trace](), list[Example]()
        for trace, example in labelled(codec, traces, refused.add):
            kept.append(trace)
            known.append(example)
            progress("reading traces", len(kept), len(traces))
        if refused.first and not known:
            raise TraceError(refused.first.what, refused.first.remedy)
        return Sample(codec, kept, known, refused.count, held)

    @cached_property
    def outputs(self) -> list[Ids]:
        """The answers' ids, closing ones included."""
        return [example.output for example in self.known]

    @cached_property
    def prompts(self) -> list[Ids]:
        """The prompts' ids, with all that the template adds."""
        return [example.prompt for example in self.known]

    @cached_property
    def answers(self) -> list[str]:
        """The answers' texts as the model writes them, tool calls included."""
        return [self.codec.decode(output.tolist()) for output in self.outputs]

    @cached_property
    def questions(self) -> list[str]:
        """The prompts' texts as users see them."""
        return [trace.prompt_text for trace in self.traces]
