"""One answer as the client gets it: content and tool calls, piece by piece or as a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tascel.serve.replies import ChatMessage, Delta, Finish, FunctionCall, ToolCall
from tascel.tools import CallReader
from tascel.types import FinishReason


class Turn:
    """Follows one answer. Without `reader` all of it is content; without `parallel` calls behind
    the first are dropped."""

    def __init__(self, reader: CallReader | None, parallel: bool) -> None:
        self._reader, self._parallel = reader, parallel
        self._calls = 0

    def push(self, text: str) -> list[Delta]:
        """What `text` adds to the message."""
        return self._deltas(*((text, ()) if self._reader is None else self._reader.feed(text)))

    def end(self) -> list[Delta]:
        """What was still held back when the answer ended."""
        return [] if self._reader is None else self._deltas(*self._reader.finish())

    def finish(self, reason: FinishReason) -> Finish:
        """Why the answer ended."""
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _deltas(self, content: str, calls: Sequence[Mapping[str, Any]]) -> list[Delta]:
        deltas = [Delta(content=content)] if content else []
        for call in calls:
            if self._calls and not self._parallel:
                break
            function = FunctionCall(**call["function"])
            made = ToolCall(index=self._calls, id=call["id"], type="function", function=function)
            deltas.append(Delta(tool_calls=[made]))
            self._calls += 1
        return deltas


def message(deltas: Iterable[Delta]) -> ChatMessage:
    """The message that the deltas make."""
    content, calls = "", list[ToolCall]()
    for delta in deltas:
        content += delta.content or ""
        for call in delta.tool_calls or ():
            calls.append(ToolCall(id=call.id, type="function", function=call.function))
    if not calls:
        return ChatMessage(role="assistant", content=content)
    return ChatMessage(role="assistant", content=content or None, tool_calls=calls)
