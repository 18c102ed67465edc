"""Who may ask, and who it is: one key for all, or keys of tenants."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tascel.errors import RequestError
from tascel.serve.errors import ApiError

#: What a tenant may be called: it is a label of metrics and a part of a variable's name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: The keys of tenant `acme` are in `TASCEL_API_KEY_ACME`.
VARIABLE = "TASCEL_API_KEY_"
_NO_KEY = "A valid API key is needed: `Authorization: Bearer …`."


@dataclass(frozen=True, slots=True)
class Access:
    """Which key opens what. Keys are known by their SHA-256: looking one up takes a time that tells
    nothing of others.

    Attributes:
        key: without tenants, what opens `/v1`; None leaves it open. With tenants it is the
            operator's: it opens `/metrics`, which tells of all of them, and nothing else.
        tenants: whose key is whose. A tenant's key opens `/v1`, and there its own bundle.
    """

    key: bytes | None = None
    tenants: Mapping[bytes, str] = field(default_factory=dict[bytes, str])

    @staticmethod
    def of(key: str | None = None, tenants: Mapping[str, Sequence[str]] | None = None) -> Access:
        """With one key, and with the keys of tenants by their names.

        Raises:
            RequestError: one key has two owners.
        """
        owners: dict[bytes, str] = {}
        operators = _digest(key.encode()) if key else None
        for name, keys in (tenants or {}).items():
            for one in keys:
                digest = _digest(one.encode())
                owner = "the operator" if digest == operators else owners.setdefault(digest, name)
                if owner != name:
                    raise RequestError(
                        f"{owner} and {name} have the same key", "Give each a key of its own"
                    )
        return Access(operators, owners)

    @property
    def guarded(self) -> bool:
        """Whether `/v1` needs a key."""
        return self.key is not None or bool(self.tenants)

    def admit(self, path: str, authorization: str) -> str | None:
        """Whose request this is by its header; None if there are no tenants, or anybody may ask.

        Raises:
            ApiError: 401, no key or not one for this.
        """
        api = path.startswith("/v1/")
        if not api and not (self.tenants and path == "/metrics"):
            return None
        scheme, _, given = authorization.partition(" ")
        digest = _digest(given.strip(" ").encode("latin-1")) if scheme.lower() == "bearer" else b""
        if api and self.tenants:
            if digest in self.tenants:
                return self.tenants[digest]
        elif digest == self.key or (api and self.key is None):
            return None
        raise ApiError(
            401,
            _NO_KEY if api else "The operator's key is needed: `Authorization: Bearer …`.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def read_tenants(given: Sequence[str]) -> dict[str, Path]:
    """The bundles' folders by name, from `NAME=BUNDLE` each.

    Raises:
        RequestError: one is written otherwise, or a name comes twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not NAME.fullmatch(name) or not folder:
            raise RequestError(
                f"--tenant {text}: is not NAME=BUNDLE",
                "A name has letters, digits, '_', '.' and '-', at most 64",
            )
        if name in found:
            raise RequestError(f"--tenant {name} is there twice", "Give each tenant one bundle")
        found[name] = Path(folder)
    return found


def read_keys(
    names: Sequence[str], file: Path | None, environment: Mapping[str, str]
) -> dict[str, list[str]]:
    """The keys of each tenant: from lines `NAME KEY` of a file, and from its variable, where
    several have spaces between them. No message shows a key.

    Raises:
        RequestError: the file cannot be read or has other lines, or a tenant has no key.
    """
    keys = {name: environment.get(variable(name), "").split() for name in names}
    for number, line in enumerate(_lines(file), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] not in keys:
            told = "is not NAME KEY" if len(words) != 2 else f"no tenant is called {words[0]}"
            raise RequestError(f"{file}, line {number}: {told}", "Each line has one tenant's key")
        keys[words[0]].append(words[1])
    for name, own in keys.items():
        if not own:
            raise RequestError(
                f"tenant {name} has no key",
                f"Set {variable(name)}, or add a line `{name} KEY` to the file of --tenant-keys",
            )
    return keys


def variable(name: str) -> str:
    """The environment variable with the keys of a tenant."""
    return VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise RequestError(f"{file}: cannot be read ({reason})", "Check the path") from None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
