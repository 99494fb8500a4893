"""Sources whose spectra are what a user asked for: frame, grid, errors."""

from galahstream.errors import OptionError
from galahstream.sources.base import Source
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.spectrum_options import SpectrumOptions


def with_spectrum_options(source: Source, options: SpectrumOptions, jobs: int | None) -> Source:
    """Return a source with spectra of another kind; by default they stay as they are.

    Raises
    ------
    OptionError
        If the source cannot give such spectra.
    BadSpectraError
        If a star lacks a camera and must not.
    """
    if isinstance(source, FitsSource):
        return source.with_options(source.options if options.is_default else options, jobs)
    if not options.is_default:
        msg = (
            f"{source.name}: frame, grid, resampling, errors and missing_camera are for folders of "
            f"GALAH's FITS files; convert it without them"
        )
        raise OptionError(msg)
    return source
