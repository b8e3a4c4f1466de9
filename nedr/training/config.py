"""Configuration files: TOML into frozen dataclasses. An unknown key is an error that names the nearest right one."""

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nedr.errors import UsageError

T = TypeVar("T")


def load(cls: type[T], path: str | Path, overrides: Mapping[str, Any] | None = None) -> T:
    """Read a TOML file into `cls`, a dataclass of values and further dataclasses (its tables).

    `overrides` maps dotted keys ("optim.steps") to values that win over the file's. Raises UsageError for a missing or
    malformed file, an unknown key, a value of the wrong type or out of the range the dataclass accepts.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no configuration file {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{key}: {name!r} is a value, not a table")
        table[last] = value
    return from_dict(cls, data, where=str(path))


def parse_override(text: str) -> tuple[str, Any]:
    """`"optim.steps=500"` -> `("optim.steps", 500)`; the value is TOML, or a bare string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"expected KEY=VALUE, found {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def from_dict(cls: type[T], data: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Build a dataclass from plain data, strictly: names and types must match."""
    hints = get_type_hints(cls)
    known = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise UsageError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
    values = {key: _convert(known[key], value, f"{where}: {key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def to_json(config: Any) -> str:
    """A dataclass as compact JSON, to travel inside weights and checkpoints; `from_dict` reads it back."""
    return json.dumps(dataclasses.asdict(config), separators=(",", ":"))


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: expected a table, found {value!r}")
        return from_dict(hint, value, where=where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(next(a for a in arguments if a is not type(None)), value, where)
    if arguments:  # Literal
        if value not in arguments:
            raise UsageError(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where}: expected a list, found {value!r}")
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], item, where) for item in value)
    if len(value) != len(arguments):
        raise UsageError(f"{where}: expected {len(arguments)} values, found {len(value)}")
    return tuple(_convert(hint, item, where) for hint, item in zip(arguments, value, strict=True))
