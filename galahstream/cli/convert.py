"""``galahstream convert``: write the spectra of a source into a store."""

import argparse
from pathlib import Path
from typing import Any

from galahstream.cli.command import (
    CommandResult,
    Commands,
    add_command,
    flux_range,
    fractions,
    names,
    number,
    one_source,
)
from galahstream.cli.text import described

FORMATS = ("npy", "hdf5")
DTYPES = ("float32", "uint16")
COMPRESSIONS = ("gzip", "lzf")
ON_BAD = ("raise", "skip")
FRAMES = ("observed", "rest")
RESAMPLINGS = ("flux-conserving", "linear")
MISSING_CAMERA = ("nan", "skip", "raise")
JOINS = ("sobject_id", "tmass_id", "gaiadr3_source_id")
SELECTS = ("recommended",)
UNMATCHED = ("keep", "skip")
_OF_SOURCE = (
    "labels",
    "wavelength",
    "missing_values",
    "flux_column",
    "wavelength_column",
    "ivar_column",
    "frame",
    "grid",
    "resampling",
    "errors",
    "missing_camera",
    "catalogue",
    "join",
    "select",
    "where",
    "unmatched",
    "groups",
    "split",
    "seed",
    "on_bad",
    "jobs",
    "resume",
    "take_over",
)


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "convert",
        run,
        "write the spectra of a source into a store",
        "raw store.h5",
    )
    parser.add_argument(
        "source",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="folder with spectra.npy, the two .npy files, HDF5 or Parquet file, FITS or Parquet "
        "folder, store, or hf://OWNER/NAME",
    )
    parser.add_argument(
        "dest", type=Path, metavar="DEST", help="store to create: a folder, or a file for hdf5"
    )
    _add_format_options(parser.add_argument_group("format of the store"))
    running = add_source_groups(parser)
    running.add_argument(
        "--dask",
        metavar="CLUSTER",
        help="convert on a Dask cluster into a collection: local[N] for N processes, or the "
        "address of a scheduler such as tcp://host:8786",
    )
    running.add_argument(
        "--shards",
        type=int,
        metavar="K",
        help="number of members of the collection, with --dask (default: one per 5,000 stars)",
    )
    running.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def add_source_groups(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what is said of a source and of its conversion; return the group about running."""
    _add_source_options(parser.add_argument_group("labels, wavelengths and split"))
    add_column_options(parser.add_argument_group("columns of Parquet files"))
    _add_spectrum_options(parser.add_argument_group("spectra"))
    _add_catalogue_options(parser.add_argument_group("catalogue"))
    running = parser.add_argument_group("running")
    _add_run_options(running)
    return running


def _add_format_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="layout on disk (default: hdf5 if DEST ends in .h5 or .hdf5, else npy)",
    )
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="how flux is stored; uint16 takes half the bytes (default: float32)",
    )
    group.add_argument(
        "--flux-range",
        type=flux_range,
        metavar="LOW,HIGH",
        help="flux that uint16 can hold, as in --flux-range=-1,4 (default: -0.5,2.7767)",
    )
    group.add_argument("--compression", choices=COMPRESSIONS, help="for hdf5 (default: none)")
    group.add_argument(
        "--chunk-rows",
        type=int,
        default=1,
        metavar="N",
        help="spectra per chunk, for hdf5 (default: 1)",
    )
    group.add_argument(
        "--in-place", action="store_true", help="link the source's .npy file instead of copying it"
    )


def _add_source_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--labels",
        type=names,
        metavar="NAMES",
        help="names of the label columns: teff,logg,feh[dex] or teff=T_EFF",
    )
    group.add_argument(
        "--wavelength", type=Path, metavar="FILE", help=".npy file with the wavelengths in Å"
    )
    group.add_argument(
        "--missing-values",
        type=number,
        nargs="+",
        default=(),
        metavar="VALUE",
        help="label values that stand for a missing one, as in --missing-values -9999 999999",
    )
    group.add_argument(
        "--groups",
        metavar="COLUMN",
        help="column, or ids: stars with equal values stay in one part of the split (default: "
        "star_id, tmass_id or gaiadr3_source_id of the catalogue)",
    )
    group.add_argument(
        "--split",
        type=fractions,
        metavar="TRAIN,VAL,TEST",
        help="fractions of the stars (default: 0.7,0.15,0.15, or the split of a store)",
    )
    group.add_argument("--seed", type=int, help="seed of the split (default: 42)")
    group.add_argument(
        "--on-bad",
        choices=ON_BAD,
        default="raise",
        help="what to do with stars that have no usable pixel, are there twice, or have a damaged, "
        "unfinished or misnamed file (default: raise)",
    )


def add_column_options(group: argparse._ArgumentGroup) -> None:
    """Add the names of columns of Parquet files."""
    for name, meaning, default in (
        ("flux", "flux", "spectrum.flux, spectrum_flux or flux"),
        ("wavelength", "wavelengths", "spectrum.lambda, spectrum_lambda, lambda or wavelength"),
        ("ivar", "inverse variances of the flux, for --errors", "beside the flux"),
    ):
        group.add_argument(
            f"--{name}-column",
            metavar="NAME",
            help=f"list column of {meaning} (default: {default})",
        )


def _add_spectrum_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--frame",
        choices=FRAMES,
        help="wavelengths as observed, or at rest; a frame that the files do not have needs --grid "
        "(default: as in the files)",
    )
    group.add_argument(
        "--grid",
        metavar="NAME|FILE",
        help="resample onto common wavelengths: hermes, galah-cnn, residual-cannon, or a .npy "
        "file with them in Å (default: the pixels of the files)",
    )
    group.add_argument(
        "--resampling",
        choices=RESAMPLINGS,
        default="flux-conserving",
        help="how (default: flux-conserving)",
    )
    group.add_argument(
        "--errors", action="store_true", help="keep the error of each pixel beside the flux"
    )
    group.add_argument(
        "--missing-camera",
        choices=MISSING_CAMERA,
        default="nan",
        help="what to do with stars that lack the file of a camera (default: nan)",
    )


def _add_catalogue_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--catalogue",
        type=Path,
        metavar="FILE",
        help="table (FITS, CSV, ECSV, VOTable, Parquet) with the labels of the stars: --labels "
        "names its columns (default: teff,logg,fe_h)",
    )
    group.add_argument(
        "--join", choices=JOINS, help="id that matches stars and catalogue (default: sobject_id)"
    )
    group.add_argument(
        "--select", choices=SELECTS, help="cuts that the release of the catalogue recommends"
    )
    group.add_argument(
        "--where",
        metavar="EXPR",
        help='cuts on columns of the catalogue, as in --where "teff > 4000 and flag_sp & 4 == 0"',
    )
    group.add_argument(
        "--unmatched",
        choices=UNMATCHED,
        default="keep",
        help="what to do with stars that the catalogue does not have (default: keep, without "
        "labels)",
    )


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="number of threads and processes (default: one per core)",
    )
    group.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="start over instead of resuming an interrupted conversion",
    )
    group.add_argument(
        "--take-over",
        action="store_true",
        help="resume a conversion of another host, whose process must have ended",
    )


def source_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was said of the source, by the names of the options of `gs.convert`."""
    return {name: getattr(options, name) for name in _OF_SOURCE}


def run(options: argparse.Namespace) -> CommandResult:
    """Convert the source and describe the store."""
    from galahstream.conversion.convert import convert

    return described(
        convert(
            one_source(options.source),
            options.dest,
            format=options.format,
            dtype=options.dtype,
            flux_range=options.flux_range,
            compression=options.compression,
            chunk_rows=options.chunk_rows,
            in_place=options.in_place,
            **source_options(options),
            overwrite=options.overwrite,
            dask=options.dask,
            shards=options.shards,
        )
    )
