"""A file of answers, one JSON line a prompt: what a line says, and writing many so that a run that
was stopped can go on.

The ids are kept beside the text, since a text can be spelled in other ids than the model chose.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tascel.errors import TascelError
from tascel.store.file import whole_file
from tascel.types import Completion, FinishReason, Trace


def line(trace: Trace, outcome: Mapping[str, Any]) -> str:
    """The line of one prompt, with its end; `outcome` is `written`'s or {"error": …}."""
    prompt = {"prompt": trace.prompt_text, "task": trace.task, "group": trace.group}
    known = {key: value for key, value in prompt.items() if value is not None}
    return json.dumps({**known, **outcome}, ensure_ascii=False) + "\n"


def written(
    text: str,
    tokens: Sequence[int],
    finish_reason: FinishReason,
    steps: int,
    drafted: Mapping[str, int],
    seconds: float,
) -> dict[str, Any]:
    """What a line says of an answer. `ids` has its end-of-sequence id, if it ended with one."""
    return {
        "output": text,
        "finish_reason": finish_reason,
        "tokens": len(tokens),
        "steps": steps,
        "drafted": dict(drafted),
        "seconds": round(seconds, 4),
        "ids": list(tokens),
    }


def outcome(completion: Completion) -> dict[str, Any]:
    """`written` for one of our own answers."""
    stats = completion.stats
    return written(
        completion.text,
        completion.tokens,
        completion.finish_reason,
        stats.steps,
        stats.accepted,
        stats.prefill_seconds + stats.decode_seconds,
    )


class AnswerFile:
    """Answers on their way to `path`.

    Lines go to `PATH.partial` as they are finished, in any order, behind a first line with the
    run's `settings`. `finish` puts them in the order of the prompts. A later run with the same
    settings finds what is done already.

    Raises:
        TascelError: a partial file of a run with other settings is there, or cannot be written, or
            `path` is a folder or a pipe.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        if not path.name or (path.exists() and not path.is_file()):
            raise TascelError(f"{path}: is no file", "Name a file for the answers")
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._places: dict[int, tuple[int, str]] = {}  # number: where its line is, its key
        first = json.dumps({"settings": dict(settings)}, sort_keys=True, ensure_ascii=False)
        head = f"{first}\n".encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = self.partial.exists() and self._resume(head)
            self._file: BinaryIO = self.partial.open("ab")
        except OSError as reason:
            raise TascelError(
                f"{self.partial}: cannot be written ({reason.strerror})",
                "Choose a file you may write to",
            ) from reason
        if not begun:
            self._file.write(head)

    def __len__(self) -> int:
        return len(self._places)

    def has(self, number: int, trace: Trace) -> bool:
        """Whether the answer to prompt `number` is there.

        Raises:
            TascelError: it is another prompt's.
        """
        if number not in self._places:
            return False
        if self._places[number][1] != _key(trace):
            raise self._foreign("answers other prompts")
        return True

    def add(self, number: int, trace: Trace, outcome: Mapping[str, Any]) -> None:
        """Keep an answer, from now on safe from a killed process."""
        key = _key(trace)
        self._places[number] = (self._file.tell(), key)
        self._file.write(line(trace, {"number": number, "key": key, **outcome}).encode())
        self._file.flush()

    def finish(self) -> None:
        """Put the lines in order and the file in its place."""
        self._file.close()
        with self.partial.open("rb") as lines, whole_file(self.path) as file:
            for _, (place, _) in sorted(self._places.items()):
                lines.seek(place)
                record = json.loads(lines.readline())
                del record["number"], record["key"]
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.partial.unlink()

    def close(self) -> None:
        """Stop here; what is done stays in the partial file."""
        self._file.close()

    def _resume(self, head: bytes) -> bool:
        """Take in what an earlier run finished, cut off the line it was killed in; whether anything
        is left."""
        end = 0
        with self.partial.open("rb") as lines:
            for text in lines:
                whole = text.endswith(b"\n")
                if not (end or text == head or (not whole and head.startswith(text))):
                    raise self._foreign("was begun with other settings")
                if not whole:
                    break
                if end:
                    try:
                        record: dict[str, Any] = json.loads(text)
                        if "error" not in record:  # what failed is tried again
                            self._places[int(record["number"])] = (end, str(record["key"]))
                    except (ValueError, LookupError, TypeError):
                        raise self._foreign("is damaged") from None
                end += len(text)
        os.truncate(self.partial, end)
        return end > 0

    def _foreign(self, what: str) -> TascelError:
        return TascelError(
            f"{self.partial}: {what}", "Finish it as it was begun, or remove it to start anew"
        )


def _key(trace: Trace) -> str:
    """What tells a prompt, its system turn and its tools from others."""
    asked = json.dumps([trace.messages, trace.tools], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
