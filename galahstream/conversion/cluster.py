"""Convert a source on a Dask cluster: each task writes a store, and all are one collection."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.conversion.catalogue import open_converted
from galahstream.conversion.collection import Part, write_planned_collection
from galahstream.conversion.journal import CheckedRows, Journal, Setting
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.pipeline import BlockReader, find_unusable_rows
from galahstream.conversion.plan import (
    ConversionPlan,
    checked_digest,
    group_values,
    plan_conversion,
)
from galahstream.conversion.run import convert_with
from galahstream.conversion.staging import (
    StagingArea,
    check_apart,
    named_paths,
    resolved,
    staging,
)
from galahstream.conversion.store_source import AnySource
from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    OptionError,
    WorkerError,
)
from galahstream.sources.base import Source
from galahstream.sources.huggingface import is_hub_address
from galahstream.sources.open import PathLike
from galahstream.sources.wrappers import Selected
from galahstream.store import Store, open_store
from galahstream.store.formats.collection import MEMBERS
from galahstream.system.progress import progress_bar
from galahstream.validation import check_count, shown

PathSource = PathLike | tuple[PathLike, PathLike]
"""What every worker can open for itself."""

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

STARS_PER_SHARD = 5000
"""Stars of each shard if their number is not given: 330 MB of float32."""

_LOCAL = "local"
# Workers return freed memory at once and sample their stacks by default, and so take 1.5 times as
# long for the arrays of spectra.
_WORKER_SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**28,
}
# The source that this process opened last, by the number of its conversion.
_opened: dict[str, Source] = {}


@dataclass(frozen=True)
class ShardTask:
    """What a worker has to know to convert a shard.

    Attributes
    ----------
    run : str
        Name of the conversion, for workers that convert several shards of it.
    source : path-like or pair of them
    options : ConvertOptions
        Those of one shard.
    index : Path
        Index of star files, if the source has one.
    number, n_shards : int
    """

    run: str
    source: PathSource
    options: ConvertOptions
    index: Path
    number: int
    n_shards: int

    def describe(self) -> str:
        """Return the shard's number for messages."""
        return f"shard {self.number + 1} of {self.n_shards}"


def convert_on_cluster(
    source: AnySource,
    dest: PathLike,
    options: ConvertOptions,
    cluster: str,
    shards: int | None = None,
) -> Store:
    """Convert a source on a Dask cluster into a collection, and open it.

    Each shard becomes a member, which one task writes. A task that is run again finds what it
    wrote before; so a worker that dies costs its shards only, and a conversion that is started
    again resumes from the members that are there.

    Parameters
    ----------
    source : path-like or pair of path-like
        What :func:`galahstream.convert` takes, as far as every worker can open it.
    dest : path-like
        The folder to create, which every worker can write to.
    options : ConvertOptions
        Those of the conversion.
    cluster : str
        ``"local[N]"`` for N processes of this machine, or the address of a scheduler.
    shards : int, optional
        The number of members; by default one per `STARS_PER_SHARD` stars. The bytes of the members
        depend on it, and never on the workers.

    Returns
    -------
    Store

    Raises
    ------
    OptionError
        If there are more shards than stars, or the options do not fit to a collection.
    ExtraMissingError
        If dask is not installed.
    WorkerError
        If the scheduler cannot be reached, or a shard failed: with the number of the shard, its
        stars and the worker.
    GalahStreamError
        If the source cannot be converted.
    """
    paths = _checked_paths(source)
    _check(options, shards)
    destination = resolved(dest)
    check_apart(destination, [*named_paths(paths), *options.catalogue.files])
    with (
        _connected(cluster) as client,
        staging(destination, overwrite=options.overwrite, take_over=options.take_over) as area,
    ):
        if not options.resume:
            area.index.unlink(missing_ok=True)
        opened = open_converted(paths, options, area.index)
        check_apart(destination, map(resolved, (*opened.files, *opened.folders)))
        _ClusterConversion(client, paths, opened, options, area, destination).run(shards)
    return open_store(destination)


class _ClusterConversion:
    """One conversion of an open source by the workers of a client."""

    def __init__(
        self,
        client: Any,
        source: PathSource,
        opened: Source,
        options: ConvertOptions,
        area: StagingArea,
        destination: Path,
    ) -> None:
        self._client, self._source, self._opened = client, source, opened
        self._options, self._area, self._destination = options, area, destination

    def run(self, shards: int | None) -> None:
        """Plan all stars, convert the shards, and join them."""
        journal = Journal(self._area.journal)
        n_shards = shards or max(round(len(self._opened) / STARS_PER_SHARD), 1)
        checked = self._check_rows(journal, n_shards)
        plan = plan_conversion(self._opened, self._options, checked.reasons)
        pieces = self._cut(plan, n_shards)
        settings = (
            *self._options.settings,
            *plan.settings(self._opened),
            Setting("shards", n_shards),
        )
        if not self._options.resume:
            self._area.clear(keep_index=True)
            journal = Journal(self._area.journal)
        journal.check_settings(settings, self._destination)
        (self._area.store / MEMBERS).mkdir(parents=True, exist_ok=True)
        journal.begin(settings, 0, checked)
        self._convert(pieces)
        parts = [_part(self._place(number), rows, plan) for number, rows in enumerate(pieces)]
        write_planned_collection(self._area, parts, plan.manifest)

    def _check_rows(self, journal: Journal, n_shards: int) -> CheckedRows:
        """Find the rows to skip on the workers, or take them from an interrupted run."""
        if self._options.on_bad != "skip":
            return CheckedRows()
        digest = checked_digest(self._opened, self._options)
        found = journal.checked_rows(digest) if self._options.resume else None
        if found is not None:
            return found
        rows = np.array_split(np.arange(len(self._opened)), n_shards)
        tasks = [(task, piece) for task, piece in zip(self._tasks(n_shards), rows, strict=True)]
        reasons: dict[int, str] = {}
        for of_shard in self._run(find_unusable_in_shard, tasks, "checking"):
            reasons |= of_shard
        return CheckedRows(digest, dict(sorted(reasons.items())))

    def _cut(self, plan: ConversionPlan, n_shards: int) -> list[npt.NDArray[np.int64]]:
        """Return the source rows of each shard, with those of one group together."""
        kept = np.flatnonzero(plan.stored_row >= 0)
        groups = group_values(self._opened, kept, plan.manifest.groups)
        pieces = cut_rows(kept, n_shards, groups)
        if pieces is None:
            units = "stars" if groups is None else f"groups of equal {plan.manifest.groups}"
            n_units = len(kept) if groups is None else len(np.unique(groups))
            msg = (
                f"{self._opened.name}: {n_shards:,} shards for {n_units:,} {units}; choose at most "
                f"{n_units:,} (shards=, --shards)"
            )
            raise OptionError(msg)
        return pieces

    def _convert(self, pieces: Sequence[npt.NDArray[np.int64]]) -> None:
        tasks = [
            (task, rows, self._place(task.number))
            for task, rows in zip(self._tasks(len(pieces)), pieces, strict=True)
        ]
        for _ in self._run(convert_shard, tasks, "converting"):
            pass

    def _place(self, number: int) -> Path:
        return self._area.store / MEMBERS / f"{number:06d}"

    def _tasks(self, n_shards: int) -> list[ShardTask]:
        # A member has one split, and that of the collection is drawn over all stars.
        of_shard = replace(
            self._options, format="npy", split=(1, 0, 0), seed=0, groups=None,
            jobs=1, resume=True, take_over=True, overwrite=False, progress=False,
        )  # fmt: skip
        run = f"{self._area.folder} {self._area.folder.stat().st_mtime_ns}"
        return [
            ShardTask(run, self._source, of_shard, self._area.index, number, n_shards)
            for number in range(n_shards)
        ]

    def _run(self, function: Any, tasks: Sequence[tuple[Any, ...]], verb: str) -> Iterator[Any]:
        """Yield the results of tasks as they end, with a progress bar over their stars."""
        futures = {
            self._client.submit(function, *task, key=f"{verb}-{task[0].run}-{number}", pure=False):
            task
            for number, task in enumerate(tasks)
        }  # fmt: skip
        n_stars = sum(len(task[1]) for task in tasks)
        try:
            with progress_bar(n_stars, verb, enabled=self._options.progress) as bar:
                for future in _distributed().as_completed(list(futures)):
                    task, rows = futures[future][:2]
                    if future.status != "finished":
                        raise self._failure(future.exception(), task, rows)
                    yield future.result()
                    bar.update(len(rows))
        finally:
            self._client.cancel(list(futures))

    def _failure(
        self, error: BaseException, task: ShardTask, rows: npt.NDArray[np.int64]
    ) -> GalahStreamError:
        if isinstance(error, GalahStreamError):
            return error
        ids = self._opened.ids[rows]
        stars = f"stars {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"star {ids[0]}"
        msg = (
            f"{task.describe()} ({stars}): {error or type(error).__name__}; the other shards are "
            f"kept: run the same conversion into {self._destination} again to resume it"
        )
        return WorkerError(msg)


def cut_rows(
    rows: npt.NDArray[np.int64], n_shards: int, groups: npt.NDArray[np.generic] | None = None
) -> list[npt.NDArray[np.int64]] | None:
    """Cut rows into shards of about the same size.

    Parameters
    ----------
    rows : ndarray, shape (n,), int64
        Increasing.
    n_shards : int
    groups : ndarray, shape (n,), optional
        Rows with equal values stay together; groups keep the order of their first rows.

    Returns
    -------
    list of ndarray, or None
        Increasing rows of each shard, none of which is empty; None if there are too few rows or
        groups.
    """
    group_of_row = np.arange(len(rows))
    if groups is not None:
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        group_of_row = rank[inverse]
    sizes = np.bincount(group_of_row)
    n_groups = len(sizes)
    if n_shards > n_groups:
        return None
    number = np.arange(n_shards + 1)
    edges = np.searchsorted(np.cumsum(sizes), len(rows) * number / n_shards, side="right")
    edges[0] = 0
    # At least one group in each, from the left and from the right.
    edges = np.maximum.accumulate(edges - number) + number
    edges = np.minimum(edges, n_groups - n_shards + number)
    edges[-1] = n_groups
    shard = np.repeat(number[:-1], np.diff(edges))[group_of_row]
    return [rows[shard == each] for each in range(n_shards)]


def find_unusable_in_shard(task: ShardTask, rows: npt.NDArray[np.int64]) -> dict[int, str]:
    """Return the rows of a shard that cannot be used, and why; runs on a worker."""
    with _explained(task, rows):
        reader = BlockReader(Selected(_open(task), rows), task.options.block_bytes, False)
        return {int(rows[row]): reason for row, reason in find_unusable_rows(reader, 1).items()}


def convert_shard(task: ShardTask, rows: npt.NDArray[np.int64], place: Path) -> int:
    """Write a shard into its place, if it is not there yet; runs on a worker.

    Returns
    -------
    int
        The number of its stars.
    """
    with _explained(task, rows):
        opened = Selected(_open(task), rows)
        if place.exists():
            with open_store(place, verify="open") as store:
                if np.array_equal(np.sort(store.ids), np.sort(opened.ids)):
                    return len(store)
        with convert_with(opened, place, replace(task.options, overwrite=True)) as store:
            return len(store)


def _open(task: ShardTask) -> Source:
    if task.run not in _opened:
        _opened.clear()
        _opened[task.run] = open_converted(task.source, task.options, task.index)
    return _opened[task.run]


@contextmanager
def _explained(task: ShardTask, rows: npt.NDArray[np.int64]) -> Iterator[None]:
    """Name the shard and the worker in an error."""
    try:
        yield
    except (GalahStreamError, OSError) as error:
        where = f"on {socket.gethostname()}, worker {_distributed().get_worker().address}"
        msg = f"{task.describe()} (source rows {rows[0]} to {rows[-1]}), {where}: {error}"
        raise WorkerError(msg) from None


def _part(place: Path, rows: npt.NDArray[np.int64], plan: ConversionPlan) -> Part:
    store = open_store(place)
    source_row = rows[store.source_row]
    stored = plan.stored_row[source_row]
    return Part(store, np.arange(len(store)), source_row, plan.split[stored])


@contextmanager
def _connected(cluster: str) -> Iterator[Any]:
    """Yield a client of a scheduler, or of processes that are started for it."""
    distributed = _distributed()
    n_workers = _local_workers(cluster)
    if n_workers is not None:
        with (
            import_module("dask").config.set(_WORKER_SETTINGS),
            distributed.LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            ) as local,
            distributed.Client(local) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(cluster, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        msg = (
            f"no Dask scheduler answers at {cluster} within {CONNECT_SECONDS:g} s "
            f"({str(error) or type(error).__name__}); start one (dask scheduler), or convert with "
            f"processes of this machine (--dask local[4])"
        )
        raise WorkerError(msg) from error
    with client:
        yield client


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        msg = "converting on a cluster needs dask: pip install 'galahstream[distributed]'"
        raise ExtraMissingError(msg) from error


def _local_workers(cluster: str) -> int | None:
    """Return N of ``local[N]``, None for an address."""
    name, _, rest = cluster.partition("[")
    if name != _LOCAL:
        if "://" in cluster:
            return None
        rest = ""
    if not (rest.endswith("]") and rest[:-1].isdigit() and int(rest[:-1])):
        msg = (
            f"cluster {shown(cluster)} is not known; expected local[N] with the number of "
            f"processes, or the address of a scheduler such as tcp://host:8786 (--dask)"
        )
        raise OptionError(msg)
    return int(rest[:-1])


def _check(options: ConvertOptions, shards: int | None) -> None:
    if shards is not None:
        check_count("shards", shards, flag="--shards", minimum=1)
    if options.format != "npy" or options.in_place:
        msg = (
            "a conversion on a cluster makes a collection of .npy stores, which is a folder; give "
            "a DEST without .h5, and neither format nor in_place (--format, --in-place)"
        )
        raise OptionError(msg)


def _checked_paths(source: AnySource) -> PathSource:
    """Return paths that mean the same in the working folders of workers."""
    if isinstance(source, str | os.PathLike):
        return source if is_hub_address(source) else Path(source).absolute()
    if isinstance(source, tuple):
        first, second = source
        if isinstance(first, str | os.PathLike) and isinstance(second, str | os.PathLike):
            return Path(first).absolute(), Path(second).absolute()
    msg = (
        f"a {type(source).__name__} cannot be sent to the workers of a cluster; expected the "
        f"path of a source that all of them can open"
    )
    raise OptionError(msg)
