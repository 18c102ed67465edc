"""A few answers for people: which ones tell most, and their steps as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tascel.bench.steps import depths
from tascel.codec import Codec
from tascel.decode.watch import Step
from tascel.types import SOURCES

#: Ids before a branch that its text is read behind: some tokenizers write a token differently at
#: the start of a text.
_BEFORE = 8
#: Branches of one draft that are shown, the most trusted ones.
_BRANCHES = 6


def shown(
    codec: Codec, asked: Mapping[str, str], answers: Mapping[str, Sequence[Step]], most: int
) -> list[dict[str, Any]]:
    """At most `most` answers as text: those that drafts made shortest, those in the middle, and
    those that they helped least, by tokens a pass; or all of them, if there are no more.

    `asked` are the prompts that people see and `answers` the steps, by the same ids. Each answer
    has its `rank` ("best", "middle", "worst"; "" where all are shown), `prompt`, `tokens`,
    `passes`, and `steps`: of each the `pieces` [text, source] that it wrote and the `branches` of
    its draft, lists of [text, source, whether it was accepted] that start `at` a depth, with
    `hidden` more branches.
    """
    told = sorted(answers, key=lambda id_: _tokens(answers[id_]) / len(answers[id_]), reverse=True)
    ranks = dict.fromkeys(told, "")
    if len(told) > most:
        third, middle = (most + 1) // 3, len(told) // 2
        ranks = dict.fromkeys(told[:third], "best")
        start = middle - (most - 2 * third) // 2
        ranks |= dict.fromkeys(told[start : start + most - 2 * third], "middle")
        ranks |= dict.fromkeys(told[len(told) - third :], "worst")
    return [
        {
            "rank": rank,
            "prompt": asked[id_],
            "tokens": _tokens(answers[id_]),
            "passes": len(answers[id_]),
            "steps": _steps(codec, answers[id_]),
        }
        for id_, rank in ranks.items()
    ]


def _tokens(steps: Sequence[Step]) -> int:
    return sum(len(step.tokens) for step in steps)


def _steps(codec: Codec, steps: Sequence[Step]) -> list[dict[str, Any]]:
    stream, before, found = codec.stream(), list[int](), list[dict[str, Any]]()
    for step in steps:
        sources = [SOURCES[int(code)] for code in step.offered.source[list(step.path)]]
        sources += ["model"] * (len(step.tokens) - len(sources))
        texts = [_text(codec, stream.push(token), token) for token in step.tokens]
        branches = _branches(codec, step, before[-_BEFORE:])
        found.append(
            {
                "pieces": [[text, s] for text, s in zip(texts, sources, strict=True)],
                "drafted": len(step.offered),
                "accepted": len(step.path),
                "branches": branches[:_BRANCHES],
                "hidden": max(0, len(branches) - _BRANCHES),
            }
        )
        before += step.tokens
    rest = stream.flush()
    if rest and found and found[-1]["pieces"]:
        found[-1]["pieces"][-1][0] += rest
    return found


def _text(codec: Codec, text: str, token: int) -> str:
    """A token's text; what ends an answer has none of its own."""
    return text + "⟨end⟩" if token in codec.eos_ids else text


def _branches(codec: Codec, step: Step, before: Sequence[int]) -> list[dict[str, Any]]:
    """The tree as chains, the accepted path's first: each starts where it leaves an earlier one."""
    offered, taken = step.offered, set(step.path)
    tokens: list[int] = offered.tokens.tolist()
    parents: list[int] = offered.parents.tolist()
    depth = depths(offered)
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        below.setdefault(parent, []).append(node)

    def best(nodes: Sequence[int]) -> list[int]:
        return sorted(nodes, key=lambda node: (node not in taken, -float(offered.trust[node])))

    waiting, found = best(below.get(-1, [])), list[dict[str, Any]]()
    while waiting:
        node: int | None = waiting.pop(0)
        assert node is not None
        known, at = [*before, *_above(tokens, parents, node)], depth[node]
        stream, chain = codec.stream(), list[list[Any]]()
        for token in known:
            stream.push(token)
        while node is not None:
            text = _text(codec, stream.push(tokens[node]), tokens[node])
            chain.append([text, SOURCES[int(offered.source[node])], node in taken])
            further = best(below.get(node, []))
            node, waiting = (further[0] if further else None), [*waiting, *further[1:]]
        found.append({"at": at, "tokens": chain})
    return found


def _above(tokens: Sequence[int], parents: Sequence[int], node: int) -> list[int]:
    """The tokens on the way from the root to a node, without its own."""
    path: list[int] = []
    at = parents[node]
    while at >= 0:
        path.append(tokens[at])
        at = parents[at]
    return path[::-1]
