"""Files of arrays with a header that says what they are, checked when they are read."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import importlib
import inspect
import io
import json
import zlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from skysift.files import atomic

_MAGIC = b"skysift inference\n"
_VERSION = 1
_HOME = "skysift."


def encode(value: Any) -> Any:
    """What JSON can hold of numbers, enums and dataclasses of skysift.

    A dataclass or module is told by the arguments of its constructor, which it keeps under the same
    names; `key`, of random numbers, is left out.

    Args:
        value: what to tell.

    Raises:
        ValueError: for something else, for instance a function.

    Examples:
        >>> from skysift.inference.prior import Parameter
        >>> decode(encode((Parameter("tau", 0.03, 0.08),)))[0].high
        0.08
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, enum.Enum):
        return {"enum": _name(type(value)), "member": value.name}
    if isinstance(value, tuple):
        return {"tuple": [encode(one) for one in value]}
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 9))
        return {"array": packed.decode(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.dtype) or _is_number(value):
        return {"dtype of": np.dtype(value).name}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(_HOME):
        told = {}
        for name in inspect.signature(type(value)).parameters:
            if name == "key":
                continue
            if not hasattr(value, name):
                raise ValueError(
                    f"{type(value).__name__}: expected that it keeps the argument {name!r} of its "
                    "constructor, found nothing of this name. It cannot go into a file."
                )
            told[name] = encode(getattr(value, name))
        return {"class": _name(type(value)), "arguments": told}
    raise ValueError(
        f"value: expected numbers, enums or dataclasses of skysift, got {type(value).__name__}, "
        "which a file cannot hold. Use what skysift has, or keep the model in memory."
    )


def decode(told: Any, key: Any = None) -> Any:
    """The inverse of `encode`.

    Args:
        told: what `encode` gave.
        key: for constructors that ask for one.

    Raises:
        ValueError: for what `encode` never gives.
    """
    if not isinstance(told, dict):
        return told
    if "tuple" in told:
        return tuple(decode(one, key) for one in told["tuple"])
    if "enum" in told:
        return _class(told["enum"])[told["member"]]
    if "array" in told:
        raw = zlib.decompress(base64.b64decode(told["array"]))
        return np.frombuffer(raw, np.dtype(told["dtype"])).reshape(told["shape"])
    if "dtype of" in told:
        return np.dtype(told["dtype of"]).type
    if "class" in told:
        made = _class(told["class"])
        arguments = {name: decode(one, key) for name, one in told["arguments"].items()}
        if "key" in inspect.signature(made).parameters:
            arguments["key"] = jax.random.key(0) if key is None else key
        try:
            return made(**arguments)
        except TypeError as error:
            raise ValueError(
                f"header: expected arguments of {made.__qualname__}, got {sorted(arguments)}. The "
                "file is of another version."
            ) from error
    raise ValueError(
        f"header: expected what skysift writes, got {sorted(told)}. Train the model again."
    )


def digest(told: Any) -> str:
    """Short hash of what `encode` gave."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def write(path: Path, kind: str, header: dict[str, Any], arrays: Any) -> None:
    """A file of the array leaves of a tree, whole or not at all.

    Args:
        path: of the file; what is there is replaced.
        kind: what the file is, looked at when it is read.
        header: what JSON can hold.
        arrays: tree, of which other leaves than arrays are left out.

    Raises:
        ValueError: if the folder cannot be written.
        DiskFull: if the disk is full.
    """
    stream = io.BytesIO()
    eqx.tree_serialise_leaves(stream, eqx.filter(arrays, eqx.is_array))
    payload = stream.getvalue()
    said = {
        "kind": kind,
        "version": _VERSION,
        "bytes": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "header": header,
    }
    with atomic(path) as temporary:
        temporary.write_bytes(_MAGIC + json.dumps(said).encode() + b"\n" + payload)


def read(path: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    """Header and arrays of a file of `write`; the arrays are for `filled`.

    Args:
        path: of the file.
        kind: what it should be.

    Raises:
        ValueError: for a file that is something else, damaged, or of another version.
    """
    raw = path.read_bytes()
    if not raw.startswith(_MAGIC):
        raise ValueError(
            f"{path}: expected a file of skysift.inference, got another. Check the path."
        )
    head, _, payload = raw[len(_MAGIC) :].partition(b"\n")
    try:
        said = json.loads(head)
        version, found = said["version"], said["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if version != _VERSION:
        raise ValueError(
            f"{path}: expected version {_VERSION} of the format, got {version}. Train the model "
            "again, or use the version of skysift that wrote it."
        )
    if found != kind:
        raise ValueError(f"{path}: expected a {kind}, got a {found}. Check the path.")
    if said["bytes"] != len(payload) or said["sha256"] != hashlib.sha256(payload).hexdigest():
        raise _damaged(path)
    return said["header"], payload


def filled(like: Any, payload: bytes) -> Any:
    """A tree with the arrays of a file in the place of its own.

    Args:
        like: tree as it was written, but for the values.
        payload: arrays of `read`.

    Raises:
        ValueError: where shapes or types differ.
    """
    arrays, rest = eqx.partition(like, eqx.is_array)
    try:
        return eqx.combine(eqx.tree_deserialise_leaves(io.BytesIO(payload), arrays), rest)
    except (RuntimeError, ValueError, EOFError) as error:
        raise ValueError(
            "file: expected arrays of the shapes that its header says, got others. It was written "
            "by another version of skysift: train the model again."
        ) from error


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path}: expected a whole file, but its contents do not fit their checksum. It is "
        "damaged: copy it again, or train the model again."
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str) -> Any:
    module, _, qualified = name.partition(":")
    try:
        if not module.startswith(_HOME):
            raise ImportError(module)
        found = getattr(importlib.import_module(module), qualified)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"header: expected a class of skysift, got {name!r}. The file is of another version."
        ) from error
    if not (dataclasses.is_dataclass(found) or (inspect.isclass(found) and _is_enum(found))):
        raise ValueError(f"header: expected a dataclass or an enum, got {name!r}.")
    return found


def _is_enum(kind: type) -> bool:
    return issubclass(kind, enum.Enum)


def _is_number(value: Any) -> bool:
    """Whether it is a type of numbers, of NumPy or JAX."""
    return isinstance(value, type) and (issubclass(value, np.generic) or hasattr(value, "dtype"))
