"""A mock survey: stars on dwarf and giant sequences, their spectra made from physics.

It stands in for the real set where that cannot be had, with its moments and its
native pixels: each star and camera has its own zero point and step, each star
its own velocity. Nothing of a star depends on another: the draws of star i
follow from (seed, i) alone.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.mock.synthesis import synthesise
from galahstream.sources.base import Source
from galahstream.survey.labels import KNOWN_LABELS
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS
from galahstream.system.processes import safe_start_method
from galahstream.validation import check_count

_FloatArray = npt.NDArray[np.float64]

FRAMES = ("observed", "rest")
SNR_RANGE = (15.0, 200.0)
VELOCITY_SPREAD = 35.0  # km/s
# Starts of a camera lie within 2.7 Å of each other in GALAH's files, steps within some 0.1 %.
_ZERO_POINT_RANGE = 1.35  # Å to each side
_STEP_SPREAD = 0.0008
_CHUNK_STARS = 32  # a task of a worker process: about a third of a second
_POOL_STARS = 128  # below this the start of processes costs more than they save


@dataclass(frozen=True)
class MockStar:
    """One star of the survey.

    Its eight labels in the order of `KNOWN_LABELS`, velocity and broadening
    (km/s), and for each camera the first wavelength and the step (Å).
    """

    labels: tuple[float, ...]
    velocity: float
    broadening: float
    starts: tuple[float, ...]
    steps: tuple[float, ...]

    def wavelength(self) -> _FloatArray:
        """Return the wavelengths of the star's own pixels, Å, shape (16384,)."""
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
        ``"rest"`` leaves out velocities, zero points and the spread of steps.
    jobs : int, optional
        Processes; None takes one a core.
    """

    def __init__(
        self, stars: int = 8914, seed: int = 42, frame: str = "observed", jobs: int | None = None
    ) -> None:
        stars = check_count("stars", stars, minimum=1)
        seed = check_count("seed", seed, minimum=0)
        check_count("jobs", jobs or 1, minimum=1)
        if frame not in FRAMES:
            msg = f"frame {frame!r} is not known; expected {' or '.join(FRAMES)}"
            raise OptionError(msg)
        self._name = f"mock survey ({stars} stars, seed {seed})"
        self._stars = stars
        self._seed = seed
        self._frame = frame
        self._jobs = jobs or os.cpu_count() or 1

    def __len__(self) -> int:
        return self._stars

    @property
    def name(self) -> str:
        """The number of stars and the seed."""
        return self._name

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the four cameras together."""
        return NOMINAL_PIXELS

    @property
    def label_names(self) -> tuple[str, ...]:
        """The eight labels of the published set."""
        return tuple(KNOWN_LABELS)

    @property
    def label_units(self) -> tuple[str, ...]:
        """Their units."""
        return tuple(KNOWN_LABELS.values())

    def read_labels(self) -> _FloatArray:
        """Return the eight labels of all stars, shape (N, 8)."""
        labels = np.empty((len(self), len(KNOWN_LABELS)))
        for star in range(len(self)):
            labels[star] = draw_star(self._seed, star, self._frame)[0].labels
        return labels

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order."""
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
                yield from _make_stars(self._seed, chunk, self._frame)
            return
        context = multiprocessing.get_context(safe_start_method())
        with ProcessPoolExecutor(self._jobs, mp_context=context) as pool:
            # A few tasks ahead of the reader: memory does not grow with the number of stars.
            tasks = deque(
                pool.submit(_make_stars, self._seed, chunk, self._frame)
                for chunk in islice(chunks, 2 * self._jobs)
            )
            try:
                while tasks:
                    yield from tasks.popleft().result()
                    for chunk in islice(chunks, 1):
                        tasks.append(pool.submit(_make_stars, self._seed, chunk, self._frame))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def draw_star(seed: int, number: int, frame: str) -> tuple[MockStar, np.random.Generator]:
    """Return a star of the survey, and the generator that its noise comes from."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, number))))
    labels = _draw_labels(generator)
    velocity = VELOCITY_SPREAD * generator.standard_normal()
    broadening = float(np.clip(3.0 + generator.standard_normal(), 1.5, 8.0))
    offsets = generator.uniform(-_ZERO_POINT_RANGE, _ZERO_POINT_RANGE, len(CAMERAS))
    stretch = np.clip(_STEP_SPREAD * generator.standard_normal(len(CAMERAS)), -0.002, 0.002)
    if frame == "rest":
        velocity, offsets, stretch = 0.0, np.zeros(len(CAMERAS)), np.zeros(len(CAMERAS))
    star = MockStar(
        labels,
        float(velocity),
        broadening,
        tuple(
            camera.start + float(offset) for camera, offset in zip(CAMERAS, offsets, strict=True)
        ),
        tuple(
            camera.step * (1 + float(share)) for camera, share in zip(CAMERAS, stretch, strict=True)
        ),
    )
    return star, generator


def star_flux(seed: int, number: int, frame: str = "observed") -> npt.NDArray[np.float32]:
    """Return the noisy spectrum of a star of the survey, shape (16384,), float32."""
    star, generator = draw_star(seed, number, frame)
    _, _, _, _, teff, logg, fe_h, snr = star.labels
    flux = synthesise(star.wavelength(), teff, logg, fe_h, star.velocity, star.broadening)
    # Photon noise: its variance follows the light that is left in a line.
    noise = generator.standard_normal(len(flux)) * np.sqrt(flux) / snr
    return (flux + noise).astype(np.float32)


def _make_stars(seed: int, numbers: range, frame: str) -> list[npt.NDArray[np.float32]]:
    return [star_flux(seed, number, frame) for number in numbers]


def _draw_labels(generator: np.random.Generator) -> tuple[float, ...]:
    """Draw a star of a dwarf or giant sequence; Teff, log g and [Fe/H] have the real set's moments.

    Over all rows of the real set these are 5456.8 ± 465.9 K, 3.989 ± 0.685 and -0.198 ± 0.288.
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
    # Gravity and mass give the radius, radius and temperature the luminosity (solar units).
    radius_squared = mass * 10 ** (4.438 - logg)
    luminosity = radius_squared * (teff / 5772) ** 4
    magnitude = float(np.clip(12.9 + 0.8 * fifth, 9.5, 14.5))
    distance = 10 ** ((magnitude - 4.74 + 2.5 * np.log10(luminosity) + 5) / 5)
    snr = float(np.clip(50 * 10 ** (-0.2 * (magnitude - 12.9) + 0.12 * sixth), *SNR_RANGE))
    return (mass, age, float(luminosity), float(distance), teff, logg, fe_h, snr)
