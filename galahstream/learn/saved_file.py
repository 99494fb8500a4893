"""Files of tensors and plain values, written atomically and read without running code in them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from galahstream.errors import CheckpointError
from galahstream.system.atomic import atomic_write
from galahstream.validation import FieldError, from_mapping, shown

_Record = TypeVar("_Record")


class FileKind(NamedTuple):
    """A kind of saved file.

    Attributes
    ----------
    name : str
        What the file says it is.
    version : int
        The newest version of the format; all from 1 on are read.
    advice : str
        What a user can do about a file that cannot be read.
    """

    name: str
    version: int
    advice: str


def write_saved(path: Path, kind: FileKind, content: Mapping[str, object]) -> None:
    """Write tensors, plain values and dataclasses of them, with kind and version beside them."""
    plain = _plain({"kind": kind.name, "version": kind.version, **content})
    with atomic_write(path) as temporary:
        torch.save(plain, temporary)


def _plain(value: object) -> object:
    """Return dataclasses as mappings and tuples as lists, for a file."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(vars(value)) if hasattr(value, "__dataclass_fields__") else value


def read_saved(path: Path, kind: FileKind) -> Mapping[str, Any]:
    """Return the content of a file of this kind; its values are not checked yet.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another kind, or of a newer version.
    """
    reason = "it is not a file" if not path.is_file() else find_corruption(path)
    if reason is not None:
        raise unusable(path, kind, reason)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises any error when it meets a damaged file
        raise unusable(path, kind, first_line(error)) from error
    if not isinstance(content, Mapping) or content.get("kind") != kind.name:
        raise unusable(path, kind, "it is another kind of file")
    version = content.get("version")
    if not isinstance(version, int) or not 1 <= version <= kind.version:
        msg = (
            f"{path} has version {shown(version)} of the format, and this galahstream reads "
            f"versions up to {kind.version}; install the galahstream that wrote it"
        )
        raise CheckpointError(msg)
    return content


def read_record(
    cls: type[_Record], content: Mapping[str, Any], name: str, *, ignore_unknown: bool = False
) -> _Record:
    """Return a dataclass of checked fields that the file holds under a name.

    Raises
    ------
    FieldError
        If it is missing or one of its fields cannot be; the field begins with `name`.
    """
    try:
        return from_mapping(cls, content.get(name), ignore_unknown=ignore_unknown)
    except FieldError as error:
        raise FieldError(f"{name}.{error.field}", error.reason) from error
    except ValueError as error:
        raise FieldError(name, str(error)) from error


def find_corruption(path: Path) -> str | None:
    """Return what is wrong with the entries of a file that torch saved, or None.

    ``torch.load`` checks neither their checksums nor the sizes that they claim.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return "entries are compressed"
            claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
            if claimed > size:
                return f"entries claim {claimed:,} bytes in a file of {size:,}"
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return str(error)
    return None if damaged is None else f"checksum mismatch in {damaged}"


def unusable(path: Path, kind: FileKind, reason: str) -> CheckpointError:
    """Return the error for a file that cannot be used, with the reason and the advice."""
    return CheckpointError(f"{path} is not a {kind.name}, or is damaged: {reason}; {kind.advice}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none."""
    return str(error).split("\n", 1)[0] or type(error).__name__


def check_weights(
    expected: Mapping[str, torch.Tensor], content: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Return the weights in a file if they are exactly those of a network.

    Raises
    ------
    FieldError
        If they are not; the message names the first that differs.
    """
    stored = content.get("weights")
    if not isinstance(stored, Mapping):
        raise FieldError("weights", f"found {shown(stored)}, expected tensors by name")
    weights = {
        name: check_tensor_like(tensor, stored.get(name), f"weights.{name}")
        for name, tensor in expected.items()
    }
    unknown = set(stored) - set(expected)
    if unknown:
        raise FieldError("weights", f"the network has no {shown(min(map(str, unknown)))}")
    return weights


def check_tensor_like(expected: torch.Tensor, stored: object, field: str) -> torch.Tensor:
    """Return a tensor of a file if it is a plain array of the expected dtype and shape.

    Raises
    ------
    FieldError
        If it is not.
    """
    if (
        not isinstance(stored, torch.Tensor)
        or stored.device.type != "cpu"  # a file can claim tensors without data
        or stored.layout != torch.strided
        or stored.dtype != expected.dtype
        or stored.shape != expected.shape
        or not stored.is_contiguous()
    ):
        reason = f"expected a plain array of {expected.dtype}, shape {tuple(expected.shape)}"
        raise FieldError(field, reason)
    return stored
