"""Sources whose spectra are what a user asked for: frame, grid, errors."""

from galahstream.errors import OptionError
from galahstream.sources.base import Source
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.huggingface import HubSource
from galahstream.sources.parquet import ParquetSource
from galahstream.sources.resampled import Resampled
from galahstream.sources.spectrum_options import SpectrumOptions


def with_spectrum_options(source: Source, options: SpectrumOptions, jobs: int | None) -> Source:
    """Return a source with spectra of another kind; by default they stay as they are.

    Raises
    ------
    OptionError
        If the source cannot give such spectra.
    WavelengthError
        If spectra are to be resampled whose wavelengths are not known.
    BadSpectraError
        If a star lacks a camera and must not.
    """
    if isinstance(source, HubSource):
        return source.of(with_spectrum_options(source.original, options, jobs))
    if isinstance(source, FitsSource):
        return source.with_options(source.options if options.is_default else options, jobs)
    if isinstance(source, ParquetSource) and options.errors:
        source = source.with_errors()
    _check(source, options)
    if options.target is None:
        return source
    return Resampled(source, options.target, options.resampling)


def _check(source: Source, options: SpectrumOptions) -> None:
    """Raise an error for what only star files can give."""
    if options.missing_camera != "nan":
        msg = (
            f"{source.name}: missing_camera is for folders of GALAH's FITS files; convert it "
            f"without (--missing-camera)"
        )
        raise OptionError(msg)
    if options.errors and not source.has_errors:
        msg = f"{source.name}: it has no errors of its pixels; convert it without errors (--errors)"
        raise OptionError(msg)
    frame = source.provenance.frame
    if options.frame is not None and options.frame != frame:
        found = (
            "does not say the frame of its spectra" if frame is None else f"is in the {frame} one"
        )
        msg = (
            f"{source.name} {found}, and only folders of GALAH's FITS files have the "
            f"velocities for the {options.frame} frame; convert it without frame (--frame)"
        )
        raise OptionError(msg)
