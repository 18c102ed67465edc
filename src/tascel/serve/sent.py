"""How bodies of requests are read: strictly, and never more of them than is good for the others."""

from __future__ import annotations

from typing import Any, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

#: Lists and objects have bounds, and of a list the first error is enough: whoever sends a million
#: of something must not hold up the others while it is read.
MOST_KEYS = 1024
Many = Field(max_length=4096, fail_fast=True)
Some = Field(min_length=1, max_length=4096, fail_fast=True)


def _few_keys(value: Any) -> Any:
    if isinstance(value, dict) and len(cast(Any, value)) > MOST_KEYS:
        raise ValueError(f"has more than {MOST_KEYS} keys")
    return cast(Any, value)


FewKeys = BeforeValidator(_few_keys)


class Sent(BaseModel):
    """An object whose every key has a meaning."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _is_small(cls, value: Any) -> Any:
        return _few_keys(value)


class Passed(BaseModel):
    """An object that goes on to the chat template as it was sent, once its own keys are checked."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    _sent: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        model = handler(_few_keys(value))
        model._sent = value
        return model

    @property
    def sent(self) -> dict[str, Any]:
        """The object as it was sent, keys in the client's order."""
        return self._sent
