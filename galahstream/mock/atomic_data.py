"""Atomic data of the mock survey: the elements, and the lines that the package ships."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import gamma

import numpy as np
import numpy.typing as npt

_FloatArray = npt.NDArray[np.float64]

ELEMENTS: dict[str, tuple[float, float, float, float, float]] = {
    "Li": (6.94, 1.05, 5.392, 2.1, 1.0),
    "C": (12.01, 8.43, 11.260, 9.3, 5.9),
    "O": (16.00, 8.69, 13.618, 8.8, 4.0),
    "Na": (22.99, 6.24, 5.139, 2.05, 1.0),
    "Mg": (24.31, 7.60, 7.646, 1.02, 2.01),
    "Al": (26.98, 6.45, 5.986, 5.9, 1.0),
    "Si": (28.09, 7.51, 8.152, 9.5, 5.8),
    "S": (32.06, 7.12, 10.360, 9.0, 4.1),
    "K": (39.10, 5.03, 4.341, 2.2, 1.0),
    "Ca": (40.08, 6.34, 6.113, 1.2, 2.2),
    "Sc": (44.96, 3.15, 6.561, 12.0, 23.0),
    "Ti": (47.87, 4.95, 6.828, 30.0, 56.0),
    "V": (50.94, 3.93, 6.746, 46.0, 43.0),
    "Cr": (52.00, 5.64, 6.767, 10.4, 7.2),
    "Mn": (54.94, 5.43, 7.434, 6.4, 7.7),
    "Fe": (55.85, 7.50, 7.902, 27.0, 43.0),
    "Co": (58.93, 4.99, 7.881, 33.0, 29.0),
    "Ni": (58.69, 6.22, 7.640, 30.0, 10.5),
    "Cu": (63.55, 4.19, 7.726, 2.3, 1.0),
    "Zn": (65.38, 4.56, 9.394, 1.0, 2.0),
    "Rb": (85.47, 2.52, 4.177, 2.3, 1.0),
    "Sr": (87.62, 2.87, 5.695, 1.3, 2.2),
    "Y": (88.91, 2.21, 6.217, 11.5, 15.5),
    "Zr": (91.22, 2.58, 6.634, 34.0, 46.0),
    "Ba": (137.3, 2.18, 5.212, 2.4, 4.2),
    "La": (138.9, 1.10, 5.577, 26.0, 28.0),
    "Ce": (140.1, 1.58, 5.539, 150.0, 190.0),
    "Pr": (140.9, 0.72, 5.473, 100.0, 100.0),
    "Nd": (144.2, 1.42, 5.525, 60.0, 120.0),
    "Sm": (150.4, 0.96, 5.644, 35.0, 55.0),
    "Eu": (152.0, 0.52, 5.670, 9.0, 12.0),
    "Gd": (157.3, 1.07, 6.150, 45.0, 75.0),
    "Dy": (162.5, 1.10, 5.939, 30.0, 45.0),
    "Er": (167.3, 0.92, 6.108, 30.0, 40.0),
}
"""Atomic mass (u), solar abundance on the scale of 12 for hydrogen (Asplund et al. 2009, ARA&A 47,
481), ionisation energy (eV; NIST), and partition functions of atom and ion near 5,000 K (two
figures; after Gray 2005, The Observation and Analysis of Stellar Photospheres, appendix D)."""


@dataclass(frozen=True)
class LineTable:
    """Atomic lines by wavelength in air, arrays of equal length.

    `wavelength` Å, `element` the position in `ELEMENTS`, `ion` 0 for neutral and
    1 for ionised, `excitation_potential` eV, `log_gf`, `radiative` damping s⁻¹, `vdw`
    damping per neutral hydrogen atom at 10,000 K, s⁻¹ cm³, which grows with the
    temperature to the power `vdw_exponent`.
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
    """Return the shipped lines of the elements that are known here."""
    text = files("galahstream.mock").joinpath("lines/galah_dr3_strong_lines.csv").read_text()
    names = list(ELEMENTS)
    rows = [row for row in csv.DictReader(text.splitlines()) if row["element"] in ELEMENTS]

    def column(name: str) -> _FloatArray:
        return np.array([float(row[name]) for row in rows])

    radiative = column("log_gamma_rad")
    damping = [_van_der_waals(float(row["vdw"]), ELEMENTS[row["element"]][0]) for row in rows]
    return LineTable(
        wavelength=column("wavelength_air"),
        element=np.array([names.index(row["element"]) for row in rows]),
        ion=np.array([int(row["ion"]) - 1 for row in rows]),
        excitation_potential=column("excitation_potential_ev"),
        log_gf=column("log_gf"),
        # 10^8.2 /s is typical of the lines that give it.
        radiative=10 ** np.where(radiative == 0, 8.2, radiative),
        vdw=np.array([width for width, _ in damping]),
        vdw_exponent=np.array([exponent for _, exponent in damping]),
    )


def _van_der_waals(given: float, mass: float) -> tuple[float, float]:
    """Return full damping width per hydrogen atom at 10,000 K, and its exponent of temperature."""
    if given <= 0:
        # Not given: 10^-7.5, typical of the iron lines that give it.
        return 10 ** (given if given < 0 else -7.5), 0.3
    # Anstee & O'Mara 1995, MNRAS 276, 859: cross-section in atomic units at 10 km/s, and exponent.
    cross_section, alpha = int(given) * 2.8003e-17, given % 1
    reduced_mass = mass * 1.008 / (mass + 1.008)
    speed = np.sqrt(8 * 1.380649e-16 * 1e4 / (np.pi * reduced_mass * 1.66054e-24))
    half = (4 / np.pi) ** (alpha / 2) * gamma(2 - alpha / 2) * 1e6 * cross_section
    return float(2 * half * (speed / 1e6) ** (1 - alpha)), (1 - alpha) / 2
