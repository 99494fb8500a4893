"""Synthetic spectra from physics: one line-forming layer in equilibrium, thousands of real lines.

Excitation and ionisation follow Boltzmann and Saha, H⁻ absorbs the continuum, lines
have Voigt profiles whose damping grows with the gas pressure, and they saturate as
in an atmosphere of the Milne-Eddington kind. Lines therefore respond to
temperature, gravity and metallicity as they do in stars; this is not a model atmosphere.
Formulas are those of Gray (2005), The Observation and Analysis of Stellar
Photospheres, 3rd edition, unless another source is named. Units are cgs.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.mock.atomic_data import ELEMENTS, LineTable, line_table
from galahstream.survey.wavelength import CAMERAS

_FloatArray = npt.NDArray[np.float64]

RESOLVING_POWER = 28_000
SPEED_OF_LIGHT = 299_792.458  # km/s
_BOLTZMANN, _ATOMIC_MASS = 1.380649e-16, 1.66054e-24
_STEP = 1.2  # km/s between points of the synthesis, an eighth of the instrument's width
_MARGIN = 14.0  # Å beyond the nominal cameras, for zero points, velocities and line wings
_MICROTURBULENCE = 1.2  # km/s
_MACROTURBULENCE = 3.0  # km/s, one standard deviation; rotation included
_DEPTH = 0.86  # depth of a fully saturated line, set by the source function at the surface
# Depth of a weak line over its opacity relative to the continuum, set by the gradient of the
# source function. Chosen so that well-known lines of the Sun have their equivalent widths (17
# lines of eleven elements: 0.7 to 1.7 times the measured ones, median 1.1).
_WEAK_LINE_DEPTH = 0.38
_MIN_OPACITY = 2e-4  # weaker lines, relative to the continuum, are skipped
_HALF_WIDTHS = (10, 40, 200)  # points on each side of weak, medium and strong lines


@dataclass(frozen=True)
class Layer:
    """The layer in which lines form.

    Attributes
    ----------
    temperature : float
        K.
    electron_pressure : float
        dyn cm⁻².
    hydrogen_density : float
        Hydrogen atoms per cm³.
    """

    temperature: float
    electron_pressure: float
    hydrogen_density: float


def line_forming_layer(teff: float, logg: float, fe_h: float) -> Layer:
    """Return the layer of a star at a continuum optical depth of 0.2.

    The gas pressure follows from hydrostatic balance with the H⁻ opacity, the
    number of electrons from the ionisation of hydrogen and the metals. Bisection
    in the electron pressure satisfies both.

    Parameters
    ----------
    teff, logg, fe_h : float
        Effective temperature (K), log of the surface gravity (dex, cgs), metallicity (dex).
    """
    # A grey atmosphere has T^4 = 3/4 Teff^4 (tau + 2/3): 0.90 Teff at 0.2.
    temperature = 0.90 * teff
    low, high = -4.0, 5.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        pressure = 10**middle
        density = _hydrogen_density(temperature, pressure, logg)
        if density * _electrons_per_hydrogen(temperature, pressure, fe_h) > pressure / (
            _BOLTZMANN * temperature
        ):
            low = middle
        else:
            high = middle
    pressure = 10 ** (0.5 * (low + high))
    return Layer(temperature, pressure, _hydrogen_density(temperature, pressure, logg))


def _hydrogen_density(temperature: float, electron_pressure: float, logg: float) -> float:
    # dP/dtau = g / kappa, and kappa per gram is that of H⁻ over 1.4 u per hydrogen atom.
    opacity = float(h_minus_opacity(np.array(5000.0), temperature, electron_pressure))
    gas_pressure = 0.2 * 10**logg * 1.4 * _ATOMIC_MASS / opacity
    return gas_pressure / (1.1 * _BOLTZMANN * temperature)


def _electrons_per_hydrogen(temperature: float, electron_pressure: float, fe_h: float) -> float:
    electrons = float(ionised_fraction(13.598, 0.5, temperature, electron_pressure))
    for element in ELEMENTS.values():
        ratio = element.ion_partition / element.atom_partition
        energy = element.ionisation_energy
        fraction = float(ionised_fraction(energy, ratio, temperature, electron_pressure))
        electrons += 10 ** (element.abundance - 12 + fe_h) * fraction
    return electrons


def ionised_fraction(
    energy: float | _FloatArray,
    partition_ratio: float | _FloatArray,
    temperature: float,
    electron_pressure: float,
) -> _FloatArray:
    """Return the ionised fraction of an element by Saha's equation.

    Parameters
    ----------
    energy : float or ndarray
        Ionisation energy, eV.
    partition_ratio : float or ndarray
        Partition function of the ion over that of the atom.
    temperature, electron_pressure : float
        K and dyn cm⁻².
    """
    exponent = -5040 / temperature * np.asarray(energy) + 2.5 * np.log10(temperature) - 0.1762
    ratio = partition_ratio * 10**exponent / electron_pressure
    return np.asarray(ratio / (1 + ratio))


def h_minus_opacity(
    wavelength: _FloatArray, temperature: float, electron_pressure: float
) -> _FloatArray:
    """Return the bound-free absorption of H⁻, cm² per hydrogen atom.

    Parameters
    ----------
    wavelength : ndarray, float64
        Å.
    temperature, electron_pressure : float
        K and dyn cm⁻².
    """
    polynomial = (
        1.99654,
        -1.18267e-5,
        2.64243e-6,
        -4.40524e-10,
        3.23992e-14,
        -1.39568e-18,
        2.78701e-23,
    )
    theta = 5040 / temperature
    cross_section = 1e-18 * np.polynomial.polynomial.polyval(wavelength, polynomial)
    stimulated = 1 - np.exp(-1.4388e8 / (wavelength * temperature))
    return np.asarray(
        4.158e-10
        * cross_section
        * electron_pressure
        * theta**2.5
        * 10 ** (0.754 * theta)
        * stimulated
    )


@dataclass(frozen=True)
class _ElementArrays:
    """The elements as arrays; abundances relative to hydrogen."""

    mass: _FloatArray
    abundance: _FloatArray
    ionisation_energy: _FloatArray
    partition: _FloatArray  # (elements, 2): atom and ion


@cache
def _element_arrays() -> _ElementArrays:
    elements = ELEMENTS.values()
    return _ElementArrays(
        mass=np.array([element.mass for element in elements]),
        abundance=10 ** (np.array([element.abundance for element in elements]) - 12),
        ionisation_energy=np.array([element.ionisation_energy for element in elements]),
        partition=np.array(
            [(element.atom_partition, element.ion_partition) for element in elements]
        ),
    )


def line_strengths(table: LineTable, layer: Layer, fe_h: float) -> _FloatArray:
    """Return the opacity at the centre of each line relative to the continuum, without damping."""
    elements = _element_arrays()
    temperature, pressure = layer.temperature, layer.electron_pressure
    ratio = elements.partition[:, 1] / elements.partition[:, 0]
    ionised = ionised_fraction(elements.ionisation_energy, ratio, temperature, pressure)
    stage = np.stack([1 - ionised, ionised], axis=1) / elements.partition
    absorbers = (
        elements.abundance[table.element]
        * 10**fe_h
        * stage[table.element, table.ion]
        * 10 ** (table.log_gf - 5040 / temperature * table.excitation_potential)
    )
    stimulated = 1 - np.exp(-1.4388e8 / (table.wavelength * temperature))
    # sqrt(pi) e^2 / (m c) times lambda over the Doppler velocity.
    cross_section = 0.014974 * table.wavelength * 1e-8 / (doppler_velocity(table, layer) * 1e5)
    continuum = h_minus_opacity(table.wavelength, temperature, pressure)
    return np.asarray(_WEAK_LINE_DEPTH * absorbers * cross_section * stimulated / continuum)


def doppler_velocity(table: LineTable, layer: Layer) -> _FloatArray:
    """Return the thermal and microturbulent velocity of each line together, km/s."""
    mass = _element_arrays().mass[table.element] * _ATOMIC_MASS
    thermal = 2 * _BOLTZMANN * layer.temperature / mass * 1e-10
    return np.sqrt(thermal + _MICROTURBULENCE**2)


def damping(table: LineTable, layer: Layer) -> _FloatArray:
    """Return the Voigt parameter a of each line, its damping over its Doppler width."""
    vdw = table.vdw * (layer.temperature / 1e4) ** table.vdw_exponent
    total = table.radiative + vdw * layer.hydrogen_density
    return np.asarray(
        total * table.wavelength * 1e-8 / (4 * np.pi * doppler_velocity(table, layer) * 1e5)
    )


def voigt(a: _FloatArray, u: _FloatArray) -> _FloatArray:
    """Return the Voigt function H(a, u) to first order in a.

    The approximation is that of Tepper-Garcia (2006, MNRAS 369, 2025).
    """
    square = np.maximum(u * u, 1e-3)
    gauss = np.exp(-square)
    ratio = 1.5 / square
    wing = gauss * gauss * (4 * square * square + 7 * square + 4 + ratio) - ratio - 1
    return np.asarray(np.maximum(gauss - a / (np.sqrt(np.pi) * square) * wing, 0))


@cache
def _grids() -> tuple[tuple[float, int], ...]:
    """Return start (log Å) and length of each camera's grid, which is even in velocity."""
    grids = []
    for camera in CAMERAS:
        start, stop = np.log(camera.start - _MARGIN), np.log(camera.stop + _MARGIN)
        grids.append((float(start), int((stop - start) / (_STEP / SPEED_OF_LIGHT)) + 1))
    return tuple(grids)


def synthesise(
    wavelength: _FloatArray,
    teff: float,
    logg: float,
    fe_h: float,
    velocity: float = 0.0,
    broadening: float = _MACROTURBULENCE,
) -> _FloatArray:
    """Return the noiseless spectrum of a star, relative to a continuum of 1.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Å in air. Pixels outside the windows of the four cameras get 1.
    teff, logg, fe_h : float
        Effective temperature (K), log of the surface gravity (dex, cgs), metallicity (dex).
    velocity : float
        Radial velocity, km/s; a positive one shifts lines to the red.
    broadening : float
        Macroturbulence and rotation as one standard deviation, km/s.

    Returns
    -------
    ndarray, shape (L,), float64
        Flux at a resolving power of 28,000.
    """
    layer = line_forming_layer(teff, logg, fe_h)
    table = line_table()
    strength = line_strengths(table, layer, fe_h)
    kept = strength > _MIN_OPACITY
    lines = _Lines(
        np.log(table.wavelength)[kept],
        strength[kept],
        damping(table, layer)[kept],
        doppler_velocity(table, layer)[kept] / _STEP,
    )
    rest = np.log(wavelength) - np.log1p(velocity / SPEED_OF_LIGHT)
    flux = np.ones_like(wavelength)
    kernel = _kernel(broadening)
    for start, length in _grids():
        inside = (rest >= start) & (rest <= start + (length - 1) * _STEP / SPEED_OF_LIGHT)
        if not inside.any():
            continue
        opacity = _opacity(lines, start, length)
        opacity += _balmer_opacity(teff, layer, start, length)
        depth = np.convolve(_DEPTH * opacity / (1 + opacity), kernel, mode="same")
        position = (rest[inside] - start) * (SPEED_OF_LIGHT / _STEP)
        flux[inside] = 1 - np.interp(position, np.arange(length), depth)
    return flux


def _kernel(broadening: float) -> _FloatArray:
    instrument = SPEED_OF_LIGHT / RESOLVING_POWER / 2.3548
    width = np.hypot(instrument, broadening) / _STEP
    points = np.arange(-int(4 * width) - 1, int(4 * width) + 2)
    kernel = np.exp(-0.5 * (points / width) ** 2)
    return np.asarray(kernel / kernel.sum())


@dataclass(frozen=True)
class _Lines:
    """The lines of one star."""

    log_wavelength: _FloatArray  # natural logarithm of Å
    strength: _FloatArray
    a: _FloatArray  # Voigt parameter
    doppler: _FloatArray  # width in points of the grid


def _opacity(lines: _Lines, start: float, length: int) -> _FloatArray:
    """Return the opacity of all lines relative to the continuum on one camera's grid."""
    centre = (lines.log_wavelength - start) * (SPEED_OF_LIGHT / _STEP)
    near = (centre > 0) & (centre < length - 1)
    centre, strength = centre[near], lines.strength[near]
    a, doppler = lines.a[near], lines.doppler[near]
    reach = _HALF_WIDTHS[-1]
    opacity = np.zeros(length + 2 * reach)
    # Where the wing, strength * a * doppler^2 / x^2, falls below the minimum opacity.
    extent = np.sqrt(strength * a / _MIN_OPACITY) * doppler
    minimum = 0
    for half in _HALF_WIDTHS:
        maximum = half if half < reach else np.inf
        group = np.flatnonzero((extent >= minimum) & (extent < maximum))
        minimum = half
        nearest = np.rint(centre[group]).astype(np.int64)
        points = nearest[:, None] + np.arange(-half, half + 1)
        u = (points - centre[group, None]) / doppler[group, None]
        profile = strength[group, None] * voigt(a[group, None], u)
        opacity += np.bincount(
            (points + reach).ravel(), weights=profile.ravel(), minlength=len(opacity)
        )
    return opacity[reach:-reach]


class _BalmerLine(NamedTuple):
    """A Balmer line: Å in air, log gf, and the constant of its linear Stark effect."""

    wavelength: float
    log_gf: float
    stark: float


_H_ALPHA = _BalmerLine(6562.80, 0.71, 1.74e-3)
_H_BETA = _BalmerLine(4861.33, -0.02, 3.57e-3)


def _balmer_opacity(teff: float, layer: Layer, start: float, length: int) -> _FloatArray:
    """Return the opacity of Hα and Hβ relative to the continuum, Stark wings included."""
    # The wings form deeper than metal lines, where the temperature is higher.
    wavelength = np.exp(start + np.arange(length) * (_STEP / SPEED_OF_LIGHT))
    continuum = h_minus_opacity(wavelength, layer.temperature, layer.electron_pressure)
    # Statistical weights: 8 of the second level, 2 of the ground state.
    second_level = 4 * 10 ** (-5040 / (0.94 * teff) * 10.2)
    electrons = layer.electron_pressure / (_BOLTZMANN * layer.temperature)
    opacity = np.zeros(length)
    for line in (_H_ALPHA, _H_BETA):
        centre = line.wavelength
        distance = np.abs(wavelength - centre)
        if distance.min() > 100:
            continue
        # Holtsmark wings, S = C F0^1.5 / d^2.5 with F0 = 1.25e-9 ne^(2/3) (Griem 1960, ApJ 132,
        # 883), and a Lorentz wing of self-broadening by neutral hydrogen (Ali & Griem 1966).
        doppler = (
            centre
            / SPEED_OF_LIGHT
            * np.sqrt(2 * _BOLTZMANN * layer.temperature / (1.008 * _ATOMIC_MASS) * 1e-10)
        )
        core = np.exp(-((distance / doppler) ** 2)) / (np.sqrt(np.pi) * doppler)
        softened = distance**2 + doppler**2  # finite at the centre
        stark_wing = line.stark * 4.42e-14 * electrons / softened**1.25
        neutral_width = 4e-8 * layer.hydrogen_density * centre**2 * 1e-8 / (4 * np.pi * 2.998e10)
        profile = core + stark_wing + neutral_width / (np.pi * softened)
        # pi e^2 / (m c^2) f lambda^2 per wavelength; f = gf / 8 from level 2; Å to cm.
        cross_section = 8.853e-13 * 10**line.log_gf / 8 * (centre * 1e-8) ** 2 * 1e8
        opacity += second_level * cross_section * profile / continuum
    return opacity
