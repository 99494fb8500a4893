"""Write the spectra of a source into a store, block by block, in constant memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.conversion.catalogue import open_converted
from galahstream.conversion.journal import CheckedRows, Journal, Setting, SpectraSummary
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.pipeline import (
    BlockReader,
    SpectraPipeline,
    count_intact_blocks,
    find_unusable_rows,
)
from galahstream.conversion.plan import ConversionPlan, checked_digest, plan_conversion
from galahstream.conversion.staging import (
    StagingArea,
    check_apart,
    named_paths,
    resolved,
    staging,
)
from galahstream.conversion.store_source import AnySource
from galahstream.errors import (
    BadSpectraError,
    LabelError,
    OptionError,
    SourceShapeError,
    WavelengthError,
)
from galahstream.sources.base import Source
from galahstream.sources.joined import JoinedSource
from galahstream.sources.npy import NpyPairSource
from galahstream.sources.open import PathLike
from galahstream.store import Store, open_store
from galahstream.store.formats import FORMATS
from galahstream.store.manifest import Manifest
from galahstream.store.writer import StoreWriter, array_digests, checked_manifest_size
from galahstream.system.disk import explain_disk_full

# The same source and options raise these again.
_RECURRING = (BadSpectraError, LabelError, OptionError, SourceShapeError, WavelengthError)


def convert_with(source: AnySource, dest: PathLike, options: ConvertOptions) -> Store:
    """Write the spectra of a source into a store and open it, as :func:`convert` does."""
    destination = resolved(dest)
    check_apart(destination, [*named_paths(source), *options.catalogue.files])
    with staging(destination, overwrite=options.overwrite, take_over=options.take_over) as area:
        if not options.resume:
            area.index.unlink(missing_ok=True)
        opened = open_converted(source, options, area.index)
        check_apart(destination, map(resolved, (*opened.files, *opened.folders)))
        _Conversion(opened, options, area, destination).run()
    return open_store(destination)


class _Conversion:
    """One conversion of an open source into a staging area."""

    def __init__(
        self, source: Source, options: ConvertOptions, area: StagingArea, destination: Path
    ) -> None:
        self._source, self._options = source, options
        self._area, self._destination = area, destination
        self._reader = BlockReader(source, options.block_bytes, options.progress)

    def run(self) -> None:
        """Plan, write the spectra, then everything else."""
        linked_flux = _linkable(self._source) if self._options.in_place else None
        journal = Journal(self._area.journal)
        checked = self._check_rows(journal)
        plan = plan_conversion(self._source, self._options, checked.reasons)
        manifest_bytes = checked_manifest_size(plan.manifest, self._source.name)
        # None of the members that a cluster's conversion left are of this one.
        alone = Setting("shards", None)
        settings = (*self._options.settings, *plan.settings(self._source), alone)
        if not self._options.resume:
            self._area.clear(keep_index=True)
            journal = Journal(self._area.journal)
        journal.check_settings(settings, self._destination)
        with (
            self._keeping_files(journal),
            StoreWriter(
                self._area.store,
                FORMATS[self._options.format],
                plan.manifest.spec,
                manifest_bytes,
                linked_flux,
            ) as writer,
        ):
            self._write(plan, writer, journal, settings, checked)

    def _check_rows(self, journal: Journal) -> CheckedRows:
        """Find the rows to skip, or take them from an interrupted run."""
        if self._options.on_bad != "skip":
            return CheckedRows()
        digest = checked_digest(self._source, self._options)
        found = journal.checked_rows(digest) if self._options.resume else None
        if found is None:
            found = CheckedRows(digest, find_unusable_rows(self._reader, self._options.jobs))
        return found

    def _write(
        self,
        plan: ConversionPlan,
        writer: StoreWriter,
        journal: Journal,
        settings: Sequence[Setting],
        checked: CheckedRows,
    ) -> None:
        pipeline = SpectraPipeline(
            self._reader,
            plan.stored_row,
            writer.writers,
            self._options.encoding,
            self._options.jobs,
        )
        locations = writer.locations
        if locations is None:
            summary = pipeline.run()
        else:
            n_intact = count_intact_blocks(journal.blocks, plan.stored_row, locations)
            journal.begin(settings, n_intact, checked)
            summary = pipeline.run(tuple(journal.blocks), journal.add)
        arrays = plan.arrays(pipeline.digests)
        writer.finish(arrays, _complete(plan.manifest, arrays, summary).to_json())

    @contextmanager
    def _keeping_files(self, journal: Journal) -> Iterator[None]:
        """Keep the files after an error, so that the run can be resumed.

        They are removed if the same error would recur.
        """
        try:
            with explain_disk_full(self._area.store):
                yield
        except _RECURRING:
            self._area.clear()
            raise
        except BaseException as error:
            n_done = sum(block.n_rows for block in journal.blocks)
            if n_done == 0:
                self._area.clear()
            else:
                error.add_note(
                    f"{n_done:,} of {len(self._source):,} stars are done and kept in "
                    f"{self._area.folder}: run the same conversion into {self._destination} again "
                    f"to resume it"
                )
            raise


def _complete(
    manifest: Manifest,
    arrays: dict[str, npt.NDArray[np.generic]],
    summary: SpectraSummary,
) -> Manifest:
    """Return the manifest of a plan with the counts and digests of what was written."""
    stored = manifest.quantization
    return replace(
        manifest,
        pixel_counts=summary.pixel_counts,
        digests=array_digests(arrays, manifest.spec),
        quantization=None if stored is None else replace(stored, clipped=summary.clipped),
        error_counts=None if manifest.error_counts is None else summary.error_counts,
    )


def _linkable(source: Source) -> Path:
    """Return the file of the spectra, after checking that a store can use it in place."""
    original = source.original if isinstance(source, JoinedSource) else source
    if not isinstance(original, NpyPairSource) or len(original) != len(source):
        msg = (
            f"{source.name}: in_place needs spectra in a .npy file, and all of them; convert "
            f"without it"
        )
        raise OptionError(msg)
    return original.flux_file.linkable()
