"""Atomic data of the mock survey: elements, and the lines that the package ships."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import gamma
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_FloatArray = npt.NDArray[np.float64]


class Element(NamedTuple):
    """A chemical element.

    Attributes
    ----------
    mass : float
        Atomic mass, u.
    abundance : float
        Logarithmic solar abundance on the scale of 12 for hydrogen.
    ionisation_energy : float
        Of the neutral atom, eV.
    atom_partition, ion_partition : float
        Partition functions of the neutral and the singly ionised atom near 5,000 K.
    """

    mass: float
    abundance: float
    ionisation_energy: float
    atom_partition: float
    ion_partition: float


# Abundances: Asplund et al. 2009, ARA&A 47, 481. Ionisation energies: NIST. Partition functions to
# two figures: after Gray 2005, The Observation and Analysis of Stellar Photospheres, appendix D.
ELEMENTS = {
    "Li": Element(6.94, 1.05, 5.392, 2.1, 1.0),
    "C": Element(12.01, 8.43, 11.260, 9.3, 5.9),
    "O": Element(16.00, 8.69, 13.618, 8.8, 4.0),
    "Na": Element(22.99, 6.24, 5.139, 2.05, 1.0),
    "Mg": Element(24.31, 7.60, 7.646, 1.02, 2.01),
    "Al": Element(26.98, 6.45, 5.986, 5.9, 1.0),
    "Si": Element(28.09, 7.51, 8.152, 9.5, 5.8),
    "S": Element(32.06, 7.12, 10.360, 9.0, 4.1),
    "K": Element(39.10, 5.03, 4.341, 2.2, 1.0),
    "Ca": Element(40.08, 6.34, 6.113, 1.2, 2.2),
    "Sc": Element(44.96, 3.15, 6.561, 12.0, 23.0),
    "Ti": Element(47.87, 4.95, 6.828, 30.0, 56.0),
    "V": Element(50.94, 3.93, 6.746, 46.0, 43.0),
    "Cr": Element(52.00, 5.64, 6.767, 10.4, 7.2),
    "Mn": Element(54.94, 5.43, 7.434, 6.4, 7.7),
    "Fe": Element(55.85, 7.50, 7.902, 27.0, 43.0),
    "Co": Element(58.93, 4.99, 7.881, 33.0, 29.0),
    "Ni": Element(58.69, 6.22, 7.640, 30.0, 10.5),
    "Cu": Element(63.55, 4.19, 7.726, 2.3, 1.0),
    "Zn": Element(65.38, 4.56, 9.394, 1.0, 2.0),
    "Rb": Element(85.47, 2.52, 4.177, 2.3, 1.0),
    "Sr": Element(87.62, 2.87, 5.695, 1.3, 2.2),
    "Y": Element(88.91, 2.21, 6.217, 11.5, 15.5),
    "Zr": Element(91.22, 2.58, 6.634, 34.0, 46.0),
    "Ba": Element(137.3, 2.18, 5.212, 2.4, 4.2),
    "La": Element(138.9, 1.10, 5.577, 26.0, 28.0),
    "Ce": Element(140.1, 1.58, 5.539, 150.0, 190.0),
    "Pr": Element(140.9, 0.72, 5.473, 100.0, 100.0),
    "Nd": Element(144.2, 1.42, 5.525, 60.0, 120.0),
    "Sm": Element(150.4, 0.96, 5.644, 35.0, 55.0),
    "Eu": Element(152.0, 0.52, 5.670, 9.0, 12.0),
    "Gd": Element(157.3, 1.07, 6.150, 45.0, 75.0),
    "Dy": Element(162.5, 1.10, 5.939, 30.0, 45.0),
    "Er": Element(167.3, 0.92, 6.108, 30.0, 40.0),
}


@dataclass(frozen=True)
class LineTable:
    """Atomic lines, as arrays of shape (n_lines,).

    Attributes
    ----------
    wavelength : ndarray, float64
        Å in air.
    element : ndarray, int64
        Position in `ELEMENTS`.
    ion : ndarray, int64
        0 for lines of neutral and 1 for lines of ionised atoms.
    excitation_potential : ndarray, float64
        Energy of the lower level, eV.
    log_gf : ndarray, float64
        Logarithm of statistical weight times oscillator strength.
    radiative : ndarray, float64
        Radiative damping, s⁻¹.
    vdw : ndarray, float64
        Van der Waals damping per neutral hydrogen atom at 10,000 K, s⁻¹ cm³.
    vdw_exponent : ndarray, float64
        Power of the temperature that `vdw` grows with.
    """

    wavelength: _FloatArray
    element: npt.NDArray[np.int64]
    ion: npt.NDArray[np.int64]
    excitation_potential: _FloatArray
    log_gf: _FloatArray
    radiative: _FloatArray
    vdw: _FloatArray
    vdw_exponent: _FloatArray

    def __len__(self) -> int:
        return len(self.wavelength)


@cache
def line_table() -> LineTable:
    """Return the shipped lines of the elements in `ELEMENTS`."""
    text = files("galahstream.mock").joinpath("lines/galah_dr3_strong_lines.csv").read_text()
    names = list(ELEMENTS)
    rows = [row for row in csv.DictReader(text.splitlines()) if row["element"] in ELEMENTS]

    def column(name: str) -> _FloatArray:
        return np.array([float(row[name]) for row in rows])

    radiative = column("log_gamma_rad")
    damping = [_van_der_waals(float(row["vdw"]), ELEMENTS[row["element"]].mass) for row in rows]
    return LineTable(
        wavelength=column("wavelength_air"),
        element=np.array([names.index(row["element"]) for row in rows]),
        ion=np.array([int(row["ion"]) - 1 for row in rows]),
        excitation_potential=column("excitation_potential_ev"),
        log_gf=column("log_gf"),
        # Where it is missing: 10^8.2 s⁻¹, typical of the other lines.
        radiative=10 ** np.where(radiative == 0, 8.2, radiative),
        vdw=np.array([width for width, _ in damping]),
        vdw_exponent=np.array([exponent for _, exponent in damping]),
    )


def _van_der_waals(given: float, mass: float) -> tuple[float, float]:
    """Return `vdw` and `vdw_exponent` of a line from what the line list gives.

    It gives the logarithm of the width (negative), 0 if it is unknown, or a
    cross-section and an exponent as the integer and the fraction of one number.
    """
    if given <= 0:
        # Where it is unknown: 10^-7.5, typical of the other iron lines.
        return 10 ** (given if given < 0 else -7.5), 0.3
    # Anstee & O'Mara 1995, MNRAS 276, 859: cross-section in atomic units at 10 km/s, and exponent.
    cross_section, alpha = int(given) * 2.8003e-17, given % 1
    reduced_mass = mass * 1.008 / (mass + 1.008)
    speed = np.sqrt(8 * 1.380649e-16 * 1e4 / (np.pi * reduced_mass * 1.66054e-24))
    half = (4 / np.pi) ** (alpha / 2) * gamma(2 - alpha / 2) * 1e6 * cross_section
    return float(2 * half * (speed / 1e6) ** (1 - alpha)), (1 - alpha) / 2
