"""The options of a conversion, checked once and made plain."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream._version import __version__
from galahstream.conversion.journal import Setting
from galahstream.errors import OptionError
from galahstream.sources.base import OnBad
from galahstream.sources.matching import Join
from galahstream.sources.parquet import ColumnNames
from galahstream.sources.spectrum_options import SpectrumOptions
from galahstream.store.layout import Compression, Dtype, FormatName
from galahstream.store.quantization import DEFAULT_RANGE, Encoding, Float32, Quantized16
from galahstream.survey.expressions import parse_conditions
from galahstream.survey.labels import LabelChoice
from galahstream.survey.splits import check_fractions, check_seed
from galahstream.survey.units import stated_unit
from galahstream.system.digest import text_digest
from galahstream.validation import check_choice, check_count, shown

Select: TypeAlias = Literal["recommended"]
Unmatched: TypeAlias = Literal["keep", "skip"]

BLOCK_BYTES = 8 * 1024 * 1024
"""Default amount of float32 flux that is read from a source at a time."""

_DEFAULT_SPLIT, _DEFAULT_SEED = (0.70, 0.15, 0.15), 42

# The options that decide about the bytes of a store.
_SETTINGS = (
    "format", "dtype", "flux_range", "compression", "chunk_rows", "groups", "split", "seed",
    "on_bad", "in_place", "missing_values",
)  # fmt: skip


@dataclass(frozen=True)
class CatalogueOptions:
    """Which catalogue gives labels to the stars, and which stars are converted.

    Parameters
    ----------
    path : path-like, optional
        The catalogue, made absolute.
    join : {"sobject_id", "tmass_id", "gaiadr3_source_id"}, optional
        The id by which stars are matched; default: sobject_id.
    select : {"recommended"}, optional
        The cuts that the catalogue's release recommends.
    where : str, optional
        Cuts as :mod:`galahstream.survey.expressions` reads them.
    unmatched : {"keep", "skip"}
        What to do with stars that the catalogue does not have.

    Raises
    ------
    OptionError
        If a value cannot be used, or there is no catalogue for it.
    """

    path: str | os.PathLike[str] | None = None
    join: Join | None = None
    select: Select | None = None
    where: str | None = None
    unmatched: Unmatched = "keep"

    def __post_init__(self) -> None:
        if self.join is not None:
            check_choice("join", self.join, get_args(Join))
        if self.select is not None:
            check_choice("select", self.select, get_args(Select))
        check_choice("unmatched", self.unmatched, get_args(Unmatched))
        if self.where is not None:
            parse_conditions(self.where)
        if self.path is not None:
            object.__setattr__(self, "path", _plain_path(self.path))
        elif (self.join, self.select, self.where, self.unmatched) != (None, None, None, "keep"):
            msg = (
                "join, select, where and unmatched are for catalogues; give one with catalogue= "
                "(--catalogue)"
            )
            raise OptionError(msg)

    @property
    def files(self) -> tuple[Path, ...]:
        """The catalogue, or nothing."""
        return () if self.path is None else (Path(self.path),)

    @property
    def joined_by(self) -> Join:
        """The id by which stars are matched."""
        return self.join or "sobject_id"

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What of the catalogue decides about the bytes of the store."""
        states = [file.stat() for file in self.files if file.is_file()]
        contents = [(state.st_size, state.st_mtime_ns) for state in states]
        return (
            Setting("catalogue", None if self.path is None else str(self.path)),
            Setting("the contents of the catalogue", text_digest(str(contents)), is_digest=True),
            Setting("join", self.join),
            Setting("select", self.select),
            Setting("where", self.where),
            Setting("unmatched", self.unmatched),
        )


@dataclass(frozen=True)
class ConvertOptions:
    """All options of :func:`galahstream.convert` but source and destination.

    The options mean what :func:`galahstream.convert` says; values are checked and
    made plain Python objects, so that NumPy scalars and arrays can be given.

    Parameters
    ----------
    block_bytes : int
        Amount of float32 flux that is read from the source at a time. The store
        does not depend on it.

    Raises
    ------
    OptionError, SplitError
        If a value cannot be used, or two do not fit each other.
    """

    format: FormatName = "npy"
    dtype: Dtype = "float32"
    flux_range: tuple[float, float] | None = None
    compression: Compression | None = None
    chunk_rows: int = 1
    labels: LabelChoice = None
    wavelength: str | os.PathLike[str] | npt.ArrayLike | None = field(default=None, compare=False)
    missing_values: Sequence[float] = ()
    columns: ColumnNames = field(default_factory=ColumnNames)
    spectrum: SpectrumOptions = field(default_factory=SpectrumOptions)
    catalogue: CatalogueOptions = field(default_factory=CatalogueOptions)
    groups: str | None = None
    split: Sequence[float] | None = None
    seed: int | None = None
    on_bad: OnBad = "raise"
    in_place: bool = False
    jobs: int | None = None
    resume: bool = True
    take_over: bool = False
    overwrite: bool = False
    progress: bool = True
    block_bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        check_choice("format", self.format, get_args(FormatName))
        check_choice("dtype", self.dtype, get_args(Dtype))
        check_choice("on_bad", self.on_bad, get_args(OnBad))
        if self.compression is not None:
            check_choice("compression", self.compression, get_args(Compression))
        self._set(
            "chunk_rows", check_count("chunk_rows", self.chunk_rows, flag="--chunk-rows", minimum=1)
        )
        if self.seed is not None:
            self._set("seed", check_seed(self.seed))
        self._set("block_bytes", check_count("block_bytes", self.block_bytes, minimum=1))
        if self.jobs is not None:
            self._set("jobs", check_count("jobs", self.jobs, flag="--jobs", minimum=1))
        for name in ("in_place", "resume", "take_over", "overwrite", "progress"):
            self._set(name, bool(getattr(self, name)))
        if self.split is not None:
            self._set("split", check_fractions(self.split))
        if self.flux_range is not None:
            self._set("flux_range", _plain_range(self.flux_range))
        self._set("missing_values", _plain_values(self.missing_values))
        if isinstance(self.wavelength, str | os.PathLike):
            self._set("wavelength", Path(self.wavelength).absolute())
        if self.groups is not None and not isinstance(self.groups, str):
            msg = f"groups {shown(self.groups)} cannot be used; expected the name of a column"
            raise OptionError(msg)
        self._check_combinations()
        _ = self.encoding  # raises for a range that cannot be used

    @property
    def encoding(self) -> Encoding:
        """How flux is stored."""
        if self.dtype == "float32":
            return Float32()
        return Quantized16.over(*(self.flux_range or DEFAULT_RANGE))

    @property
    def keeps_split(self) -> bool:
        """Whether a source that has a split, which is a store, keeps it."""
        return self.split is None and self.seed is None and self.groups is None

    @property
    def fractions(self) -> tuple[float, float, float]:
        """The fractions of a split that is drawn."""
        return check_fractions(_DEFAULT_SPLIT if self.split is None else self.split)

    @property
    def split_seed(self) -> int:
        """The seed of a split that is drawn."""
        return _DEFAULT_SEED if self.seed is None else self.seed

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The options that decide about the bytes of the store, by names for messages."""
        drawn: dict[str, Any] = {"split": self.fractions, "seed": self.split_seed}
        options = (Setting(name, drawn.get(name, getattr(self, name))) for name in _SETTINGS)
        return (
            *options,
            *(Setting(f"{name}_column", value) for name, value in self.columns._asdict().items()),
            Setting("missing_camera", self.spectrum.missing_camera),
            *self.catalogue.settings,
            Setting("the version of galahstream", __version__),
        )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_combinations(self) -> None:
        if self.wavelength is not None and self.spectrum.target is not None:
            msg = (
                "wavelength and grid cannot be used together: spectra on a grid have its "
                "wavelengths; give grid (--grid) alone"
            )
            raise OptionError(msg)
        if self.flux_range is not None and self.dtype != "uint16":
            msg = (
                f"flux_range is for 16-bit stores, and dtype is {self.dtype!r}; give "
                f"dtype='uint16' (--dtype uint16)"
            )
            raise OptionError(msg)
        if self.format == "npy" and (self.compression is not None or self.chunk_rows != 1):
            msg = (
                "compression and chunk_rows are for HDF5 stores; give format='hdf5' (--format hdf5)"
            )
            raise OptionError(msg)
        if self.in_place and (
            self.format != "npy" or self.dtype != "float32" or self.on_bad != "raise"
        ):
            msg = (
                f"in_place cannot be used with format={self.format!r}, dtype={self.dtype!r}, "
                f"on_bad={self.on_bad!r}: it keeps the source's file as it is, in an npy store of "
                f"float32 with all its rows"
            )
            raise OptionError(msg)


def _plain_range(flux_range: Any) -> tuple[float, float]:
    msg = f"flux_range {shown(flux_range)} cannot be used; expected two rising numbers"
    if stated_unit(flux_range) is not None:
        raise OptionError(msg + " without a unit: flux is relative to a continuum of 1")
    try:
        low, high = np.asarray(flux_range, dtype=np.float64).tolist()
        return float(low), float(high)
    except (TypeError, ValueError) as error:
        raise OptionError(msg) from error


def _plain_values(values: Any) -> tuple[float, ...]:
    """Return finite numbers in increasing order, each once: their order changes nothing."""
    try:
        given = np.atleast_1d(np.asarray(values))
    except ValueError:  # lists of different lengths
        given = np.empty((0, 0))
    is_plain = given.ndim == 1 and given.dtype.kind in "fiu" and stated_unit(values) is None
    if not is_plain or not np.isfinite(given).all():
        msg = (
            f"missing_values {shown(values)} cannot be used; expected finite numbers, as in "
            f"(-9999, 999999) (--missing-values -9999 999999)"
        )
        raise OptionError(msg)
    return tuple(np.unique(given.astype(np.float64)).tolist())


def _plain_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        msg = f"catalogue {shown(path)} cannot be used; expected the path of a table of stars"
        raise OptionError(msg)
    return Path(path).absolute()
