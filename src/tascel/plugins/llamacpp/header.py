"""What a GGUF file says of itself, read without llama.cpp and without its weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from tascel.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: Single values by their code, as `struct` calls them; then text and lists.
_KINDS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
#: Headers that are longer are damaged: a vocabulary of 300,000 entries has 20 MB.
_LONGEST = 1 << 28
#: What `general.file_type` stands for, as far as it is common.
_FORMS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
#: Those that round nothing that was published.
WHOLE = ("F32", "F16", "BF16")


def read_header(gguf: str | Path) -> dict[str, Any]:
    """All keys of a GGUF file and their values, texts as bytes where they are no UTF-8.

    Raises:
        ModelError: not there, no GGUF, cut off, damaged, or of a version that we do not know.
    """
    path = Path(gguf).expanduser()
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise ModelError(
                    f"{path}: is no GGUF file", "Give the file of a model for llama.cpp"
                )
            (version,) = struct.unpack("<I", file.read(4))
            if version not in _VERSIONS:
                raise ModelError(
                    f"{path}: is GGUF of version {version}, and we know 2 and 3",
                    "Convert it anew, or update tascel",
                )
            _, count = struct.unpack("<QQ", file.read(16))
            return _Header(file).pairs(count)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", "Check the path") from None
    except (struct.error, KeyError, ValueError, OverflowError, MemoryError, RecursionError):
        raise ModelError(f"{path}: its header is cut off or damaged", "Copy it again") from None


def form_of(header: dict[str, Any]) -> str:
    """How the weights are stored, such as "Q4_K_M"; "unknown" where the file does not say."""
    kind = header.get("general.file_type")
    return _FORMS.get(kind, f"file type {kind}") if isinstance(kind, int) else "unknown"


class _Header:
    """Reads values one behind the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _LONGEST

    def pairs(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self._counted(count)):
            key = self._text()
            found[str(key)] = self._value(self._number("I"))
        return found

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            return self._number(_KINDS[kind])
        of, count = self._number("I"), self._counted(self._number("Q"))
        if of in (_TEXT, _LIST):
            return [self._value(of) for _ in range(count)]
        one = struct.Struct(f"<{_KINDS[of]}")
        return [value for (value,) in one.iter_unpack(self._bytes(one.size * count))]

    def _text(self) -> str | bytes:
        raw = self._bytes(self._number("Q"))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def _number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self._bytes(struct.calcsize(f"<{kind}")))[0]

    def _counted(self, count: int) -> int:
        if count > _LONGEST:
            raise ValueError(count)
        return count

    def _bytes(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise ValueError(size)
        raw = self._file.read(size)
        if len(raw) < size:
            raise ValueError(size)
        return raw
