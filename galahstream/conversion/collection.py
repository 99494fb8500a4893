"""Make one store of many: a collection, whose members keep their spectra where they are."""

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.conversion.plan import label_columns
from galahstream.conversion.staging import StagingArea, check_apart, resolved, staging
from galahstream.errors import OptionError
from galahstream.sources.open import PathLike
from galahstream.store import Store, open_store
from galahstream.store.formats.base import is_ignored_name
from galahstream.store.formats.collection import MEMBERS, CollectionFormat
from galahstream.store.layout import Member
from galahstream.store.manifest import ErrorCounts, Manifest, PixelCounts
from galahstream.store.writer import StoreWriter, array_digests, checked_manifest_size
from galahstream.survey.selection import Cut, FlagCount
from galahstream.system.atomic import sync_folder
from galahstream.system.disk import explain_disk_full
from galahstream.system.progress import progress_bar

# What the operating system says where a file cannot have a second name.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)
_Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of an open store that go into a collection.

    Attributes
    ----------
    store : Store
        A store, or a collection itself.
    rows : ndarray, shape (n,), int64
    source_row : ndarray, shape (n,), int64
        The place of each row in the order of all sources.
    split : ndarray, shape (n,), uint8
        0 train, 1 val, 2 test.
    """

    store: Store
    rows: npt.NDArray[np.int64]
    source_row: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint8]


def merge(
    dest: PathLike, stores: Sequence[PathLike], *, overwrite: bool = False, progress: bool = True
) -> Store:
    """Make a collection of all stars of several stores, without copying their spectra.

    The files of the stores get second names in the collection (hard links) where the file system
    has them; elsewhere they are copied. Each star stays in its split. The order of the rows
    is that of the stores, and in each that of its source, within the splits.

    Parameters
    ----------
    dest : path-like
        The folder to create.
    stores : sequence of path-like
        At least one store or collection, of equal pixels, encoding, frame and labels.
    overwrite : bool
        Replace a store at `dest`, once the collection is complete.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.

    Returns
    -------
    Store
        The collection, which is read like any other store.

    Raises
    ------
    OptionError
        If the stores do not fit together, or a star is in two of them.
    StoreFormatError
        If one of them is damaged.
    """
    if not stores:
        msg = "there is nothing to merge: name at least one store"
        raise OptionError(msg)
    destination = resolved(dest)
    check_apart(destination, map(resolved, stores))
    parts, end = [], 0
    for path in stores:
        store = open_store(path)
        part = all_rows(store)
        parts.append(replace(part, source_row=part.source_row + end))
        end = int(parts[-1].source_row.max()) + 1
    with staging(destination, overwrite=overwrite) as area:
        write_collection(area, parts, progress=progress)
    return open_store(destination)


def write_collection(
    area: StagingArea, parts: Sequence[Part], *, cuts: tuple[Cut, ...] = (), progress: bool = True
) -> None:
    """Write a collection into a staging area, in which its members get second names.

    Parameters
    ----------
    area : StagingArea
    parts : sequence of Part
        Their `source_row` orders the rows.
    cuts : tuple of Cut
        Further conditions that removed stars.
    progress : bool
        Show a progress bar.

    Raises
    ------
    OptionError
        If the parts do not fit together, or a star is in two of them.
    """
    _check_alike(parts)
    _check_distinct(parts)
    table = _Table.of(parts)
    area.clear()
    folder = area.store / MEMBERS
    folder.mkdir(parents=True)
    with explain_disk_full(area.store):
        members = _link_members(table.paths, folder, progress)
        manifest = _joined_manifest([part.store.manifest for part in parts], table)
        _finish(area, table, replace(manifest, cuts=(*manifest.cuts, *cuts), members=members))


def write_planned_collection(area: StagingArea, parts: Sequence[Part], planned: Manifest) -> None:
    """Write a collection of stores that are in its place in a staging area already.

    Parameters
    ----------
    area : StagingArea
    parts : sequence of Part
        The stores, in the order of their numbers.
    planned : Manifest
        What to say of all stars; complete but for counts of pixels, digests and members.
    """
    table = _Table.of(parts)
    counted = _joined_manifest([part.store.manifest for part in parts], table)
    manifest = replace(
        planned,
        chunk_rows=1,
        pixel_counts=counted.pixel_counts,
        quantization=counted.quantization,
        error_counts=counted.error_counts,
        members=tuple(Member(part.store.path.name, part.store.fingerprint) for part in parts),
    )
    with explain_disk_full(area.store):
        _finish(area, table, manifest)


def _finish(area: StagingArea, table: "_Table", manifest: Manifest) -> None:
    n_bytes = checked_manifest_size(manifest, str(table.paths[0]))
    with StoreWriter(area.store, CollectionFormat(), manifest.spec, n_bytes) as writer:
        digests = array_digests(table.arrays, manifest.spec)
        writer.finish(table.arrays, replace(manifest, digests=digests).to_json())


def all_rows(store: Store) -> Part:
    """Return all rows of a store, as they are in it."""
    return Part(store, np.arange(len(store)), store.source_row, store.split)


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows of a collection in their order, and the stores that have their spectra."""

    paths: Sequence[Path]
    arrays: dict[str, _Array]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "_Table":
        numbers: dict[Path, int] = {}
        members, member_rows = [], []
        for part in parts:
            places = _places(part.store)
            own = [numbers.setdefault(path, len(numbers)) for path in places.paths]
            members.append(np.array(own, np.uint32)[places.member[part.rows]])
            member_rows.append(places.member_row[part.rows])
        split = np.concatenate([part.split for part in parts])
        source_row = np.concatenate([part.source_row for part in parts])
        order = np.lexsort((source_row, split))
        joined = {
            "split": split,
            "source_row": source_row,
            "member": np.concatenate(members),
            "member_row": np.concatenate(member_rows),
        }
        names = [name for name in parts[0].store.arrays if name not in joined]
        for name in names:
            if name != "wavelength":
                joined[name] = np.concatenate(
                    [part.store.arrays[name][part.rows] for part in parts]
                )
        arrays = {name: values[order] for name, values in joined.items()}
        return cls(list(numbers), {**arrays, "wavelength": parts[0].store.wavelength})


@dataclass(frozen=True, eq=False)
class _Places:
    """Which store has the spectrum of each row, and which row of it."""

    paths: Sequence[Path]
    member: npt.NDArray[np.uint32]
    member_row: npt.NDArray[np.int64]


def _places(store: Store) -> _Places:
    if not store.manifest.members:
        n_stars = len(store)
        return _Places([store.path], np.zeros(n_stars, np.uint32), np.arange(n_stars))
    paths = [store.path / MEMBERS / member.name for member in store.manifest.members]
    return _Places(paths, store.arrays["member"], store.arrays["member_row"])


def _check_alike(parts: Sequence[Part]) -> None:
    first = parts[0].store
    for part in parts:
        store, manifest = part.store, part.store.manifest
        if manifest.compression is not None:
            msg = (
                f"{store.path}: compressed spectra cannot be in a collection; convert it again "
                f"without compression"
            )
            raise OptionError(msg)
        for name, found, expected in zip(_KINDS, _kind(store), _kind(first), strict=True):
            if found != expected:
                msg = (
                    f"{store.path} and {first.path} cannot be in one collection: their {name} are "
                    f"{found} and {expected}; convert one of them again like the other"
                )
                raise OptionError(msg)


_KINDS = (
    "numbers of pixels", "dtypes", "encodings", "labels", "errors", "frames and grids",
    "wavelengths",
)  # fmt: skip


def _kind(store: Store) -> tuple[object, ...]:
    """Return what must be equal in all stores of a collection, as messages show it."""
    manifest, provenance = store.manifest, store.provenance
    stored = manifest.quantization
    return (
        manifest.n_pixels,
        manifest.dtype,
        "-" if stored is None else (stored.bscale, stored.bzero),
        ", ".join(f"{column.name} [{column.unit}]" for column in manifest.labels) or "none",
        "there" if store.error is not None else "not there",
        (provenance.frame, provenance.grid, provenance.resampling),
        (manifest.wavelength, manifest.digests["wavelength"]),
    )


def _check_distinct(parts: Sequence[Part]) -> None:
    """Raise `OptionError` if a star is in two parts."""
    ids = [np.unique(part.store.ids[part.rows]) for part in parts]
    values, counts = np.unique(np.concatenate(ids), return_counts=True)
    if (counts > 1).any():
        star = values[counts > 1][0]
        names = [str(part.store.path) for part, own in zip(parts, ids, strict=True) if star in own]
        msg = (
            f"{int((counts > 1).sum()):,} stars are in two stores, such as {star} in "
            f"{names[0]} and {names[1]}; select the stars to keep (galahstream select)"
        )
        raise OptionError(msg)


def _link_members(paths: Sequence[Path], folder: Path, progress: bool) -> tuple[Member, ...]:
    members = []
    with progress_bar(len(paths), "linking", unit=" stores", enabled=progress) as bar:
        for number, path in enumerate(paths):
            place = folder / f"{number:06d}{'' if path.is_dir() else path.suffix}"
            if path.is_dir():
                place.mkdir()
                for file in sorted(path.iterdir()):
                    if not is_ignored_name(file.name):
                        _link(file, place / file.name)
                sync_folder(place)
            else:
                _link(path, place)
            members.append(Member(place.name, open_store(place, verify="open").fingerprint))
            bar.update()
    return tuple(members)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _joined_manifest(manifests: Sequence[Manifest], table: _Table) -> Manifest:
    """Return the manifest of all rows, without digests and members."""
    first = manifests[0]
    arrays = table.arrays
    n_train, n_val, n_test = np.bincount(arrays["split"], minlength=3).tolist()
    columns = [(column.name, column.unit) for column in first.labels]
    notes = tuple(dict.fromkeys(note for one in manifests for note in one.notes))
    if len({(one.split, one.split_seed) for one in manifests}) > 1:
        notes = (*notes, "the members were split with different fractions or seeds")
    return replace(
        first,
        n_stars=len(arrays["ids"]),
        labels=label_columns(columns, arrays["labels"], arrays["split"] == 0),
        split_sizes=(n_train, n_val, n_test),
        groups=first.groups if len({one.groups for one in manifests}) == 1 else None,
        row_order="split",
        chunk_rows=1,
        pixel_counts=sum((one.pixel_counts for one in manifests), PixelCounts()),
        skipped=tuple(star for one in manifests for star in one.skipped),
        notes=notes,
        missing_values=tuple(sorted({value for one in manifests for value in one.missing_values})),
        cuts=_sum_cuts(manifests),
        flags=_sum_flags(manifests),
        error_counts=first.error_counts
        and sum((one.error_counts for one in manifests if one.error_counts), ErrorCounts()),
        quantization=first.quantization
        and replace(
            first.quantization,
            clipped=sum(one.quantization.clipped for one in manifests if one.quantization),
        ),
        members=(),
        digests={},
    )


def _sum_flags(manifests: Sequence[Manifest]) -> tuple[FlagCount, ...]:
    sums: dict[tuple[str, int, str], int] = {}
    for one in manifests:
        for flag in one.flags:
            key = (flag.column, flag.bit, flag.meaning)
            sums[key] = sums.get(key, 0) + flag.stars
    return tuple(FlagCount(*key, stars) for key, stars in sums.items())


def _sum_cuts(manifests: Sequence[Manifest]) -> tuple[Cut, ...]:
    sums: dict[str, Cut] = {}
    for one in manifests:
        for cut in one.cuts:
            before = sums.get(cut.condition, Cut(cut.condition, 0))
            sums[cut.condition] = Cut(
                cut.condition, before.removed + cut.removed, before.unknown + cut.unknown
            )
    return tuple(sums.values())
