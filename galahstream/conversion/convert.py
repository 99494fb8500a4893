"""Convert a source into a store, on this machine or on a cluster, and publish it atomically.

Examples
--------
>>> import galahstream as gs
>>> store = gs.convert("raw", "store")  # doctest: +SKIP
>>> store.flux[:2].shape  # doctest: +SKIP
(2, 16384)
"""

from collections.abc import Sequence

import numpy.typing as npt

from galahstream.conversion.cluster import convert_on_cluster
from galahstream.conversion.options import (
    CatalogueOptions,
    ConvertOptions,
    Select,
    Unmatched,
)
from galahstream.conversion.run import convert_with
from galahstream.conversion.store_source import AnySource
from galahstream.errors import OptionError
from galahstream.sources.base import OnBad
from galahstream.sources.galah_layout import Frame
from galahstream.sources.matching import Join
from galahstream.sources.open import PathLike
from galahstream.sources.parquet import ColumnNames
from galahstream.sources.spectrum_options import GridChoice, MissingCamera, SpectrumOptions
from galahstream.store import Store
from galahstream.store.formats import format_named
from galahstream.store.layout import Compression, Dtype, FormatName
from galahstream.survey.labels import LabelChoice
from galahstream.survey.resampling import Resampling


def convert(
    source: AnySource,
    dest: PathLike,
    *,
    format: FormatName | None = None,
    dtype: Dtype = "float32",
    flux_range: tuple[float, float] | None = None,
    compression: Compression | None = None,
    chunk_rows: int = 1,
    labels: LabelChoice = None,
    wavelength: PathLike | npt.ArrayLike | None = None,
    missing_values: Sequence[float] = (),
    flux_column: str | None = None,
    wavelength_column: str | None = None,
    ivar_column: str | None = None,
    frame: Frame | None = None,
    grid: GridChoice | None = None,
    resampling: Resampling = "flux-conserving",
    errors: bool = False,
    missing_camera: MissingCamera = "nan",
    catalogue: PathLike | None = None,
    join: Join | None = None,
    select: Select | None = None,
    where: str | None = None,
    unmatched: Unmatched = "keep",
    groups: str | None = None,
    split: Sequence[float] | None = None,
    seed: int | None = None,
    on_bad: OnBad = "raise",
    in_place: bool = False,
    jobs: int | None = None,
    resume: bool = True,
    take_over: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    dask: str | None = None,
    shards: int | None = None,
) -> Store:
    """Write the spectra of a source into a store and open it.

    Parameters
    ----------
    source : path-like, pair of path-like, array, (flux, labels), Source, or Store
        What :func:`galahstream.sources.open.open_source` takes, or a store, to change its
        format, dtype, split or labels. The spectra of a store are verified, and read in
        the order of the source that it was made from: ``source_row`` is that source's
        row, counted without stars that were skipped. 16-bit flux gives the same values
        again if `dtype` and `flux_range` are the same. Labels beside an array of flux are
        an array (N, K) or a mapping of names to (N,) values. Arrays are identified by
        their values: an interrupted conversion is resumed from equal ones, and
        :func:`~galahstream.conversion.repair.repair` takes them too.
        If the source has an error of each pixel, so has the store, in ``store.error``: as
        float16, NaN where it is unknown (not a positive number from 6e-8 to 65504).
    dest : path-like
        The store to create: a folder for ``"npy"``, a file for ``"hdf5"``, outside of
        the source.
    format : {"npy", "hdf5"}, optional
        Default: ``"hdf5"`` if `dest` ends in ``.h5`` or ``.hdf5``, else ``"npy"``. A given
        format counts, whatever the name.
    dtype : {"float32", "uint16"}
        How flux is stored: exactly, or in 16 bits: half the bytes, in equal steps
        over `flux_range`, of 5e-5 by default; ``store.info()["quantization"]`` tells
        the error.
    flux_range : (float, float), optional
        For ``"uint16"``: the lowest and the highest flux; default (-0.5, 2.7767).
        Pixels outside are clipped and counted; more than 0.1 % of them raise.
    compression : {"gzip", "lzf"}, optional
        For ``"hdf5"``: smaller, and read through h5py instead of a mapping.
    chunk_rows : int
        For ``"hdf5"``: rows per chunk.
    labels : sequence of str, mapping, optional
        Names of the label columns if they are not the known eight:
        ``["teff", "logg", "feh[dex]"]`` in their order, or ``{"teff": "T_EFF"}``.
    wavelength : path-like or array_like, shape (L,), optional
        Å, or a quantity with a unit of wavelength (astropy's, for example). Default: the
        source's own; else, for 16,384 pixels, the nominal grid.
    missing_values : sequence of float, optional
        Label values that stand for a missing one, such as ``(-9999, 999999)``, to the
        precision of float32; they become NaN. ``store.info()["likely_fill_values"]``
        names those that look as if they were to be given here.
    flux_column, wavelength_column, ivar_column : str, optional
        For Parquet files: names of the list columns of flux, wavelengths and inverse variances
        of the flux, or of fields of a struct, as in ``"spectrum.flux"``. Default: those of
        MultimodalUniverse, as :class:`~galahstream.sources.parquet.ParquetSource` says.
    frame : {"observed", "rest"}, optional
        For folders of GALAH's FITS files: the frame of the wavelengths; default: as the files
        have it (DR3 at rest, DR4 observed). Another one needs a `grid`. For DR4 in the rest
        frame, velocities are those of the catalogue, or else of the files.
    grid : str, path-like or array_like, shape (L,), optional
        For folders of GALAH's FITS files: resample the spectra onto common wavelengths, the
        name of a published grid (``"hermes"``, ``"galah-cnn"``, ``"residual-cannon"``), a
        .npy file, or values in Å. Without it, each star keeps its own pixels.
    resampling : {"flux-conserving", "linear"}
        How, see :mod:`galahstream.survey.resampling`.
    errors : bool
        For folders of GALAH's FITS files, and for Parquet files with inverse variances: read the
        error of each pixel too.
    missing_camera : {"nan", "skip", "raise"}
        For folders of GALAH's FITS files: what to do with stars that lack the file of a
        camera, whose pixels are NaN by default.
    catalogue : path-like, optional
        A table in FITS, CSV, ECSV, VOTable or Parquet whose columns are the labels, in
        place of the source's own: those of `labels` (default teff, logg and fe_h), each
        with its error where the table has one (``e_teff``). In every column sentinels such
        as -9999 and 1e20 are missing values. The split of a store is drawn again.
    join : {"sobject_id", "tmass_id", "gaiadr3_source_id"}, optional
        The id by which stars are matched; default ``"sobject_id"``. DR4's catalogue has the
        first visit of a star only; the others match by the other two.
    select : {"recommended"}, optional
        The cuts that the catalogue's release recommends: GALAH DR3 and DR4 are told apart by
        their columns.
    where : str, optional
        Conditions on columns of the catalogue, such as ``"teff > 4000 and logg < 4"``, after
        `select`; :mod:`galahstream.survey.expressions` says what they may hold. A star
        without a value, or without a match, does not pass.
    unmatched : {"keep", "skip"}
        What to do with stars that the catalogue does not have: keep them without labels, or
        skip them. ``store.manifest.cuts`` has the number of stars that each cut removed.
    groups : str, optional
        A column of labels or of the catalogue, or ``"ids"``: rows with equal values stay in
        one split. Default: the first of star_id, tmass_id and gaiadr3_source_id that the
        catalogue has.
    split : three floats, optional
        Fractions of training, validation and test; default (0.70, 0.15, 0.15).
        Exactly 0 gives an empty split: (0, 0, 1) is a store to test with. A store as
        source keeps its split, if none of `split`, `seed` and `groups` is given.
    seed : int, optional
        Seed of the split; default 42.
    on_bad : {"raise", "skip"}
        What to do with spectra without any usable pixel (all zero or not
        finite) and with stars whose files are damaged, do not fit, are there twice or are
        not named as they should be. Skipped stars are listed in ``store.manifest.skipped``.
    in_place : bool
        Make the store around the source's .npy file without copying it: both names
        are then links to one file, whose rows keep their order. It must hold
        C-ordered little-endian float32 on the same file system.
    jobs : int, optional
        Threads that encode, hash and write, and processes that read the files of many
        stars; default: one per core. 1 starts no process.
    resume : bool
        Resume an interrupted conversion into `dest` with the same settings; the
        bytes are those of an uninterrupted one. A folder of star files is not listed
        again: the stars are those that it held when the conversion began. In place and
        with compression, and if False, it starts over.
    take_over : bool
        Resume what a process of another host began, which must be gone.
    overwrite : bool
        Replace an existing store, once the new one is complete.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.
    dask : str, optional
        Convert on a Dask cluster into a collection (docs/cluster.md): ``"local[N]"`` for N
        processes of this machine, or the address of a scheduler. The source is a path.
    shards : int, optional
        With `dask`: the number of members of the collection, default one per 5,000 stars.

    Returns
    -------
    Store

    Raises
    ------
    GalahStreamError
        For input that cannot be converted; the destination is left as it was.
    DestinationExistsError
        If the destination exists and `overwrite` is False, or it is not a store.
    LockedError
        If another process converts into `dest`.
    """
    options = ConvertOptions(
        format=format_named(dest) if format is None else format,
        dtype=dtype,
        flux_range=flux_range,
        compression=compression,
        chunk_rows=chunk_rows,
        labels=labels,
        wavelength=wavelength,
        missing_values=missing_values,
        columns=ColumnNames(flux_column, wavelength_column, ivar_column),
        spectrum=SpectrumOptions(frame, grid, resampling, errors, missing_camera),
        catalogue=CatalogueOptions(catalogue, join, select, where, unmatched),
        groups=groups,
        split=split,
        seed=seed,
        on_bad=on_bad,
        in_place=in_place,
        jobs=jobs,
        resume=resume,
        take_over=take_over,
        overwrite=overwrite,
        progress=progress,
    )
    if dask is not None:
        return convert_on_cluster(source, dest, options, dask, shards)
    if shards is not None:
        msg = "shards are those of a conversion on a cluster; give dask (dask=, --dask) too"
        raise OptionError(msg)
    return convert_with(source, dest, options)
