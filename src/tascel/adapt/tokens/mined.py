"""New tokens as `tascel mine --json` wrote them, to look at first and to train with then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tascel.codec import Codec
from tascel.errors import ModelError

#: Keys of the file: whose ids it holds, the tokens, and the run of each.
TOKENIZER, TOKENS, RUN = "tokenizer", "new_tokens", "ids"


def read_runs(path: Path, codec: Codec) -> list[tuple[int, ...]]:
    """The base ids of each new token in a file.

    Args:
        codec: of the model that will get them.

    Raises:
        ModelError: the file cannot be read, is no such file, or is of another tokenizer.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        runs = [tuple(map(int, token[RUN])) for token in content[TOKENS]]
        tokenizer = content[TOKENIZER]
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})", "Check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} does not hold new tokens", "Write it with `tascel mine --json`"
        ) from error
    if tokenizer != codec.fingerprint:
        raise ModelError(
            f"{path} was mined with another tokenizer than this model's",
            "Mine again with --model as in training",
        )
    return runs
