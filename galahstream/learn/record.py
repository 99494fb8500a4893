"""What a run was made from: its data, the software, and the command that repeats it."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from galahstream.learn.run import TrainOptions
from galahstream.store import SpectraStore
from galahstream.stream.config import environment
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut
from galahstream.survey.windows import PixelMask
from galahstream.validation import checked, integer, optional, record, sequence

_MAX_CUTS = 4096
# Where the name of an option is not that of its flag.
_FLAGS = {"num_workers": "--workers"}


def _string(value: Any) -> str:
    """Return a text that may have any characters, as paths do."""
    if not isinstance(value, str):
        msg = f"found a {type(value).__name__}, expected a text"
        raise ValueError(msg)
    return value


def _strings(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        msg = f"found a {type(value).__name__}, expected an object"
        raise ValueError(msg)
    return {_string(name): _string(text) for name, text in value.items()}


@dataclass(frozen=True)
class DataRecord:
    """The store of a run.

    Attributes
    ----------
    path : str
        Where it was.
    fingerprint, split_fingerprint : str
        Digests of all that it holds, and of which stars train, validate and test.
    stars, pixels : int
    split_seed : int
        Seed that drew the split.
    provenance : Provenance
    cuts : tuple of Cut
        Conditions that removed stars from the catalogue, in their order.
    skipped : int
        Number of stars that were not converted.
    """

    path: str = checked(_string)
    fingerprint: str = checked(_string)
    split_fingerprint: str = checked(_string)
    stars: int = checked(integer)
    pixels: int = checked(integer)
    split_seed: int = checked(integer)
    provenance: Provenance = checked(record(Provenance))
    cuts: tuple[Cut, ...] = checked(partial(sequence, check=record(Cut), maximum=_MAX_CUTS))
    skipped: int = checked(integer)

    @classmethod
    def of_store(cls, store: SpectraStore) -> "DataRecord":
        """Return what is recorded of a store."""
        info = store.describe()
        return cls(
            path=str(info.path),
            fingerprint=store.fingerprint,
            split_fingerprint=store.split_fingerprint,
            stars=info.stars,
            pixels=info.pixels,
            split_seed=info.split_seed,
            provenance=info.provenance,
            cuts=info.cuts,
            skipped=len(info.skipped),
        )


@dataclass(frozen=True)
class RunRecord:
    """What a run was made from.

    Attributes
    ----------
    data : DataRecord
    environment : mapping of str to str
        Versions, device, threads and kernels by name.
    command : str or None
        The command that repeats the run; None if the command line cannot, as with a network of
        the user's own.
    """

    data: DataRecord = checked(record(DataRecord))
    environment: Mapping[str, str] = checked(_strings)
    command: str | None = checked(optional(_string))

    @classmethod
    def of_run(
        cls, store: SpectraStore, options: TrainOptions, out: Path, world_size: int = 1
    ) -> "RunRecord":
        """Return the record of a run on `store` in the folder `out`, by `world_size` ranks."""
        command = _command(store, options, out)
        if command is not None and world_size > 1:
            command = f"torchrun --standalone --nproc-per-node {world_size} -m {command}"
        return cls(DataRecord.of_store(store), environment(), command)


def _command(store: SpectraStore, options: TrainOptions, out: Path) -> str | None:
    if not isinstance(options.model, str) or isinstance(options.window, PixelMask):
        return None
    words = ["galahstream", "train", str(store.path)]
    for field in fields(TrainOptions):
        value = getattr(options, field.name)
        if value != field.default:
            flag = _FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
            words += _flag_with_value(flag, value)
    return shlex.join([*words, "--out", str(out)])


def _flag_with_value(flag: str, value: object) -> Iterator[str]:
    """Yield the words that give an option on the command line."""
    if value is True:
        yield flag
    elif flag == "--labels":
        yield from (flag, ",".join(value))  # type: ignore[arg-type]
    elif flag == "--window":
        is_several = isinstance(value, tuple) and not isinstance(value[0], float)
        for one in value if is_several else (value,):  # type: ignore[attr-defined]
            yield from (flag, one if isinstance(one, str) else f"{one[0]}:{one[1]}")
    else:
        yield from (flag, str(value))
