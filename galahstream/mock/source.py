"""A mock survey: stars on dwarf and giant sequences, with spectra made from physics.

It stands in for the real set where that cannot be had: its labels have the same
moments, and its pixels are native, so that each star and camera has its own zero
point and step, and each star its own velocity. Star i depends on (seed, i) alone.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.mock.synthesis import synthesise
from galahstream.sources.base import Source
from galahstream.survey.labels import KNOWN_LABELS
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS
from galahstream.system.processes import safe_start_method
from galahstream.validation import MAX_SEED, check_choice, check_count

_FloatArray = npt.NDArray[np.float64]

Frame: TypeAlias = Literal["observed", "rest"]
"""Whether spectra keep each star's velocity, zero points and steps, or have none of them."""

FRAMES: tuple[Frame, ...] = get_args(Frame)
SNR_RANGE = (15.0, 200.0)
VELOCITY_SPREAD = 35.0  # km/s
# In GALAH's files the starts of a camera lie within 2.7 Å of each other, its steps within 0.1 %.
_ZERO_POINT_RANGE = 1.35  # Å to each side
_STEP_SPREAD = 0.0008
_CHUNK_STARS = 32  # per task of a worker process, about a third of a second
_POOL_STARS = 128  # with fewer stars, starting processes costs more than they save


class StarLabels(NamedTuple):
    """Labels of a star, with the names, order and units of `KNOWN_LABELS`."""

    mass: float
    age: float
    l_bol: float
    dist: float
    teff: float
    logg: float
    fe_h: float
    snr: float


@dataclass(frozen=True)
class MockStar:
    """One star of the survey.

    Attributes
    ----------
    labels : StarLabels
    velocity, broadening : float
        Radial velocity; macroturbulence and rotation, km/s.
    starts, steps : tuple of 4 floats
        First wavelength and step of each camera, Å.
    """

    labels: StarLabels
    velocity: float
    broadening: float
    starts: tuple[float, ...]
    steps: tuple[float, ...]

    def wavelength(self) -> _FloatArray:
        """Return the wavelengths of the star's own pixels, Å in air, shape (16384,)."""
        pixels = np.arange(CAMERA_PIXELS)
        return np.concatenate(
            [start + step * pixels for start, step in zip(self.starts, self.steps, strict=True)]
        )


class MockSource(Source):
    """The mock survey as a source of spectra.

    Parameters
    ----------
    stars : int
        Number of stars.
    seed : int
        The same seed gives the same bytes, whatever the blocks or jobs.
    frame : {"observed", "rest"}
        ``"rest"`` gives every star velocity 0 and the nominal grid.
    jobs : int, optional
        Number of processes, at least 1; one per core by default.

    Raises
    ------
    OptionError
        If an option has a value that cannot be used.
    """

    def __init__(
        self, stars: int = 8914, seed: int = 42, frame: Frame = "observed", jobs: int | None = None
    ) -> None:
        check_choice("frame", frame, FRAMES)
        self._stars = check_count("stars", stars, minimum=1)
        self._seed = check_count("seed", seed, minimum=0, maximum=MAX_SEED)
        self._frame = frame
        self._jobs = check_count("jobs", os.cpu_count() if jobs is None else jobs, minimum=1)

    def __len__(self) -> int:
        return self._stars

    @property
    def name(self) -> str:
        """A description with the number of stars and the seed."""
        return f"mock survey ({self._stars} stars, seed {self._seed})"

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the four cameras together."""
        return NOMINAL_PIXELS

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the eight labels of the published set."""
        return tuple(KNOWN_LABELS)

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the eight labels."""
        return tuple(KNOWN_LABELS.values())

    def read_labels(self) -> _FloatArray:
        """Return the eight labels of all stars, shape (N, 8)."""
        labels = np.empty((len(self), len(KNOWN_LABELS)))
        for index in range(len(self)):
            labels[index] = draw_star(self._seed, index, self._frame)[0].labels
        return labels

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order, made by several processes."""
        block: list[npt.NDArray[np.float32]] = []
        for flux in self._iter_stars(first_row):
            block.append(flux)
            if len(block) == block_rows:
                yield np.stack(block)
                block = []
        if block:
            yield np.stack(block)

    def _iter_stars(self, first_row: int) -> Iterator[npt.NDArray[np.float32]]:
        chunks = (
            range(start, min(start + _CHUNK_STARS, len(self)))
            for start in range(first_row, len(self), _CHUNK_STARS)
        )
        if self._jobs == 1 or len(self) < _POOL_STARS:
            for chunk in chunks:
                yield from _make_spectra(self._seed, chunk, self._frame)
            return
        context = multiprocessing.get_context(safe_start_method())
        with ProcessPoolExecutor(self._jobs, mp_context=context) as pool:
            # Only a few tasks are ahead of the reader, so that memory stays constant.
            tasks = deque(
                pool.submit(_make_spectra, self._seed, chunk, self._frame)
                for chunk in islice(chunks, 2 * self._jobs)
            )
            try:
                while tasks:
                    yield from tasks.popleft().result()
                    for chunk in islice(chunks, 1):
                        tasks.append(pool.submit(_make_spectra, self._seed, chunk, self._frame))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def draw_star(seed: int, index: int, frame: Frame) -> tuple[MockStar, np.random.Generator]:
    """Return star number `index` of the survey, and the generator that its noise comes from."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))
    labels = _draw_labels(generator)
    velocity = VELOCITY_SPREAD * generator.standard_normal()
    broadening = float(np.clip(3.0 + generator.standard_normal(), 1.5, 8.0))
    offsets = generator.uniform(-_ZERO_POINT_RANGE, _ZERO_POINT_RANGE, len(CAMERAS))
    stretch = np.clip(_STEP_SPREAD * generator.standard_normal(len(CAMERAS)), -0.002, 0.002)
    if frame == "rest":
        velocity, offsets, stretch = 0.0, np.zeros(len(CAMERAS)), np.zeros(len(CAMERAS))
    star = MockStar(
        labels=labels,
        velocity=float(velocity),
        broadening=broadening,
        starts=tuple(
            camera.start + float(offset) for camera, offset in zip(CAMERAS, offsets, strict=True)
        ),
        steps=tuple(
            camera.step * (1 + float(factor))
            for camera, factor in zip(CAMERAS, stretch, strict=True)
        ),
    )
    return star, generator


def star_flux(seed: int, index: int, frame: Frame = "observed") -> npt.NDArray[np.float32]:
    """Return the noisy spectrum of star number `index`, shape (16384,), float32."""
    star, generator = draw_star(seed, index, frame)
    flux = noiseless_flux(star)
    # Photon noise: its variance is proportional to the flux.
    noise = generator.standard_normal(len(flux)) * np.sqrt(flux) / star.labels.snr
    return (flux + noise).astype(np.float32)


def noiseless_flux(star: MockStar) -> _FloatArray:
    """Return the spectrum of a star without noise, shape (16384,), float64."""
    teff, logg, fe_h = star.labels.teff, star.labels.logg, star.labels.fe_h
    return synthesise(star.wavelength(), teff, logg, fe_h, star.velocity, star.broadening)


def _make_spectra(seed: int, indices: range, frame: Frame) -> list[npt.NDArray[np.float32]]:
    return [star_flux(seed, index, frame) for index in indices]


def _draw_labels(generator: np.random.Generator) -> StarLabels:
    """Draw a star of the dwarf or the giant sequence.

    Teff, log g and [Fe/H] have the moments of the real set, over all its rows
    5456.8 ± 465.9 K, 3.989 ± 0.685 and -0.198 ± 0.288.
    """
    is_giant = generator.uniform() < 0.241
    first, second, third, fourth, fifth, sixth = generator.standard_normal(6)
    fe_h = float(np.clip(-0.198 + 0.288 * third, -2.0, 0.5))
    if is_giant:
        logg = float(np.clip(2.85 + 0.41 * first, 1.3, 3.7))
        teff = float(
            np.clip(4850 + 180 * (logg - 2.85) + 115 * second - 60 * (fe_h + 0.2), 3900, 5400)
        )
        mass = float(np.clip(1.2 + 0.25 * fourth, 0.8, 2.5))
        age = float(np.clip(10.5 * mass**-2.7, 0.3, 13.5))
    else:
        teff = float(np.clip(5650 + 354 * first, 4200, 7200))
        logg = float(4.35 - 0.00028 * (teff - 5650) + 0.09 * second)
        mass = float((teff / 5772) ** 1.7 * 10 ** (0.08 * fe_h) * (1 + 0.02 * fourth))
        age = float(generator.uniform(0.05, 0.95) * min(10 * mass**-2.7, 13.5))
    # Mass and gravity give the radius, radius and temperature the luminosity (solar units).
    radius_squared = mass * 10 ** (4.438 - logg)
    luminosity = radius_squared * (teff / 5772) ** 4
    magnitude = float(np.clip(12.9 + 0.8 * fifth, 9.5, 14.5))
    distance = 10 ** ((magnitude - 4.74 + 2.5 * np.log10(luminosity) + 5) / 5)
    snr = float(np.clip(50 * 10 ** (-0.2 * (magnitude - 12.9) + 0.12 * sixth), *SNR_RANGE))
    return StarLabels(mass, age, float(luminosity), float(distance), teff, logg, fe_h, snr)
