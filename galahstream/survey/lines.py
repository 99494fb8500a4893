"""Strong lines in the windows of HERMES, to name them in pictures."""

# Wavelengths in air, Å (NIST Atomic Spectra Database).
STRONG_LINES = (
    ("Mg I", 4730.03),
    ("Zn I", 4810.53),
    ("Hβ", 4861.35),
    ("Sc II", 5657.90),
    ("Na I", 5682.63),
    ("Na I", 5688.20),
    ("Mg I", 5711.09),
    ("Si I", 5772.15),
    ("Ba II", 5853.68),
    ("Ca I", 5857.45),
    ("Ba II", 6496.90),
    ("Hα", 6562.79),
    ("Fe I", 6663.44),
    ("Al I", 6696.02),
    ("Li I", 6707.76),
    ("Ca I", 6717.68),
    ("Mg I", 7691.55),
    ("K I", 7698.96),
    ("O I", 7771.94),
    ("Rb I", 7800.27),
    ("Al I", 7835.31),
)
