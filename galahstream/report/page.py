"""Fill a template and write the page, with everything that it shows inside it."""

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from galahstream._version import __version__
from galahstream.system.atomic import atomic_write


@dataclass(frozen=True)
class Picture:
    """A PNG picture inside a page.

    Attributes
    ----------
    title, alt : str
        Heading, and what the picture shows for those who do not see it.
    uri : str
        The bytes of the file as a ``data:`` URI.
    width, height : int
        Pixels.
    """

    title: str
    alt: str
    uri: str
    width: int
    height: int

    @classmethod
    def of_file(cls, path: Path, title: str, alt: str) -> "Picture":
        """Read a PNG file."""
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        uri = "data:image/png;base64," + base64.b64encode(data).decode()
        return cls(title, alt, uri, width, height)


class Table(NamedTuple):
    """The names of columns, and rows of texts, of which the first one names the row."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def write_page(template: str, out: Path, **context: object) -> None:
    """Fill a template of this package and write the page atomically.

    Parameters
    ----------
    template : str
        Name of the file in ``templates``.
    out : Path
        The page to write.
    **context
        What the template names.
    """
    import jinja2  # here, since commands that write no page start faster without it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("galahstream.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(version=__version__, **context)
    with atomic_write(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number with some significant digits, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}g}"
