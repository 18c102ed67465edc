"""Which grammar the answer to a request must follow."""

from __future__ import annotations

from tascel.serve.ask import Served
from tascel.serve.schema import Asked, ChatRequest, JsonFormat, SchemaFormat, ToolChoice
from tascel.types import Grammar


def constraint(asked: Asked, served: Served) -> Grammar | None:
    """The grammar, compiled; None if anything may be written.

    Functions that may be called but need not are only constrained if one of them is `strict`.

    Raises:
        RequestError: the grammar is wrong or too big, or constraints cannot be had here.
    """
    format = asked.response_format
    if isinstance(format, JsonFormat):
        return served.grammars.json_object()
    if isinstance(format, SchemaFormat):
        return served.grammars.json_schema(format.json_schema.schema_ or {})
    if asked.structured_outputs is not None:
        return served.grammars.regex(asked.structured_outputs.regex)
    if isinstance(asked, ChatRequest) and asked.callable:
        tools = [tool.sent for tool in asked.callable]
        if isinstance(asked.tool_choice, ToolChoice):
            return served.grammars.tools(tools, asked.tool_choice.model_dump())
        strict = any(tool.function.strict for tool in asked.callable)
        if asked.tool_choice == "required" or strict:
            parallel = asked.parallel_tool_calls is not False
            return served.grammars.tools(tools, asked.tool_choice or "auto", parallel)
    return None
