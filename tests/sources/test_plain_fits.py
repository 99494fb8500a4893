"""Plain files are read as astropy reads them, and what is not plain is never read at all."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.sources.plain_fits import NotPlainError, PlainFits

fits = pytest.importorskip("astropy.io.fits")

FLUX = np.linspace(0.5, 1.5, 700)


def content_of(*images: object) -> bytes:
    file = BytesIO()
    fits.HDUList(list(images)).writeto(file, output_verify="silentfix")
    return file.getvalue()


def example() -> bytes:
    primary = fits.PrimaryHDU(FLUX.astype(">f4"))
    primary.header["OBJECT"] = "it's a star / of two names"
    primary.header["CRVAL1"], primary.header["CDELT1"] = 4713.5, 1.25e-5
    primary.header["RV"] = None
    primary.header["GOOD"], primary.header["COUNT"] = True, -12
    primary.header["COMMENT"] = "CRVAL1  =                  1.0"
    second = fits.ImageHDU(FLUX, name="Normalized")
    third = fits.ImageHDU(np.ones((3, 4), ">i2"))
    return content_of(primary, second, third, fits.ImageHDU())


@pytest.fixture(scope="module")
def plain() -> bytes:
    return example()


def test_headers_and_pixels_are_those_of_astropy(plain: bytes) -> None:
    file = PlainFits(plain)
    with fits.open(BytesIO(plain)) as extensions:
        assert file.names == ("", "NORMALIZED", "", "")
        for keyword in ("OBJECT", "CRVAL1", "CDELT1", "GOOD", "COUNT", "BITPIX", "NAXIS1"):
            assert file.value(0, keyword) == extensions[0].header[keyword]
        assert file.value(0, "RV") is None
        assert file.value(0, "NOTHING") is None
        for extension in (0, 1):
            assert np.array_equal(file.pixels(extension), extensions[extension].data)
            assert file.pixels(extension).dtype == extensions[extension].data.dtype


@pytest.mark.parametrize("extension", [2, 3])
def test_other_images_than_a_row_of_floats_are_left_to_astropy(
    plain: bytes, extension: int
) -> None:
    with pytest.raises(NotPlainError):
        PlainFits(plain).pixels(extension)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1.5D3", 1500.0),
        (b"+.5", 0.5),
        (b"7.", 7.0),
        (b"-3", -3),
        (b"'T '", "T"),
        (b"''''", "'"),
        (b"T / true", True),
        (b"/ nothing", None),
        (b"", None),
    ],
)
def test_values_of_every_kind_are_read(text: bytes, value: object) -> None:
    card = b"GOOD    =                    T"
    changed = example().replace(card, (b"GOOD    = " + text).ljust(len(card)), 1)
    found = PlainFits(changed).value(0, "GOOD")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [b"NaN", b"1,5", b"(1, 2)", b"'open", b"1 2", b"1_0", b"0x10"])
def test_values_that_the_standard_does_not_have_are_left_to_astropy(text: bytes) -> None:
    card = b"GOOD    =                    T"
    changed = example().replace(card, (b"GOOD    = " + text).ljust(len(card)), 1)
    with pytest.raises(NotPlainError):
        PlainFits(changed).value(0, "GOOD")


def _tiles() -> bytes:
    return content_of(fits.PrimaryHDU(), fits.CompImageHDU(FLUX.astype(np.float32)))


def _table() -> bytes:
    column = fits.Column("flux", "E", array=FLUX)
    return content_of(fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column]))


NOT_PLAIN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"<html>",
    "zeros": lambda content: bytes(len(content)),
    "tiles": lambda _: _tiles(),
    "table": lambda _: _table(),
    "without its last byte": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "header alone": lambda content: content[:2880],
    "a byte more": lambda content: content + b"\0",
    "a block more": lambda content: content + bytes(2880),
    "no BITPIX": lambda content: content.replace(b"BITPIX", b"BITPI ", 1),
    "other BITPIX": lambda content: content.replace(b"-32", b"-31", 1),
    "no NAXIS": lambda content: content.replace(b"NAXIS ", b"NAXIX ", 1),
    "NAXIS of text": lambda content: content.replace(
        b"NAXIS   =                    1", b"NAXIS   =                'abc'", 1
    ),
    "negative NAXIS1": lambda content: content.replace(b"  700", b" -700", 1),
    "more pixels": lambda content: content.replace(b"  700", b"99700", 1),
    "not standard": lambda content: content.replace(b"T /", b"F /", 1),
    "other extension": lambda content: content.replace(b"'IMAGE   '", b"'IMA?E   '", 1),
    "heap": lambda content: content.replace(
        b"PCOUNT  =                    0", b"PCOUNT  =                    8", 1
    ),
    "no end": lambda content: content.replace(b"END" + b" " * 77, b"EMD" + b" " * 77),
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_a_file_that_is_damaged_or_not_plain_is_left_to_astropy(plain: bytes, kind: str) -> None:
    with pytest.raises(NotPlainError):
        PlainFits(NOT_PLAIN[kind](plain))


@pytest.mark.parametrize(
    "card", [b"BSCALE  =                  2.0", b"BZERO   =", b"BSCALE  = 'x'"]
)
def test_scaled_flux_is_left_to_astropy(plain: bytes, card: bytes) -> None:
    gcount = b"GCOUNT  =                    1"
    changed = plain.replace(gcount, card.ljust(len(gcount)), 1)
    with pytest.raises(NotPlainError):
        PlainFits(changed).pixels(1)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_header_never_gives_other_pixels_than_astropy(
    data: st.DataObject,
) -> None:
    content = bytearray(example())
    position = data.draw(st.sampled_from([*range(400), *range(5760, 6400)]))
    content[position] = data.draw(st.integers(32, 126))
    try:
        pixels = PlainFits(bytes(content)).pixels(1)
    except NotPlainError:
        return
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            fits.open(BytesIO(bytes(content)), memmap=False) as extensions,
        ):
            assert np.array_equal(pixels, extensions[1].data)
    except OSError:  # a value that nothing here needs is not one of its kind
        assert np.array_equal(pixels, PlainFits(example()).pixels(1))


@pytest.mark.parametrize("damaged", range(4))
@pytest.mark.parametrize("text", [b"EN!", b"END=", b"   ", b"\0\0\0", b"XND"])
def test_a_header_without_its_end_is_left_to_astropy(
    plain: bytes, damaged: int, text: bytes
) -> None:
    pieces = plain.split(b"END" + b" " * 77)
    ends = [b"END".ljust(80)] * 4
    ends[damaged] = text.ljust(80)
    content = b"".join(piece + end for piece, end in zip(pieces, [*ends, b""], strict=True))
    with pytest.raises(NotPlainError):
        PlainFits(content)


@pytest.mark.slow
def test_the_real_files_are_plain_and_read_as_astropy_reads_them(real_data: Path) -> None:
    for path in [*(real_data / "galah_dr3").iterdir(), *(real_data / "galah_dr4").glob("2*")]:
        file = PlainFits(path.read_bytes())
        with fits.open(path) as extensions:
            names = [extension.name.upper().removeprefix("PRIMARY") for extension in extensions]
            assert [name.removeprefix("PRIMARY") for name in file.names] == names
            for index, extension in enumerate(extensions):
                for keyword in ("CRVAL1", "CDELT1", "CRPIX1", "SLITMASK", "RVCOM", "RVCOM_OK"):
                    assert file.value(index, keyword) == extension.header.get(keyword)
                if extension.data is not None:
                    assert file.pixels(index).tobytes() == extension.data.tobytes()
