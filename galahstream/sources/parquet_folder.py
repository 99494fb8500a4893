"""Which Parquet files of a folder hold its stars: all, or the partitions of a HATS catalogue.

HATS (Hierarchical Adaptive Tiling Scheme) divides a catalogue over the sky into
``dataset/Norder=*/Dir=*/Npix=*.parquet`` and describes it in ``hats.properties``. Beside the
catalogue a collection holds margins, which repeat the stars near the borders of the
partitions, and indexes; reading them would count stars twice.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from galahstream.errors import SourceFormatError
from galahstream.sources.base import explain_access_errors

PROPERTIES = "hats.properties"
"""Name of the file that describes a HATS catalogue."""

_SUFFIXES = (".parquet", ".parq")
_PARTITION = "Norder="
_STARS = ("object", "source")  # kinds of HATS tables with one row for each star or visit


class ParquetFiles(NamedTuple):
    """The files that hold a folder's rows.

    Attributes
    ----------
    names : tuple of str
        Paths in the folder, with slashes, in alphabetical order.
    n_rows : int or None
        Number of rows that a HATS catalogue states; None if nothing states it.
    """

    names: tuple[str, ...]
    n_rows: int | None


def is_parquet_folder(path: Path) -> bool:
    """Return whether a path is a folder with files that are named like Parquet files."""
    return path.is_dir() and any(map(is_parquet_name, folder_names(path)))


def is_parquet_name(name: str) -> bool:
    """Return whether a path in a folder is that of a Parquet file with rows.

    Names that begin with an underscore or a dot are metadata, by convention.
    """
    return name.endswith(_SUFFIXES) and not any(part[0] in "_." for part in name.split("/"))


def folder_names(folder: Path) -> Iterator[str]:
    """Yield the paths of the files in a folder and in its folders, with slashes.

    Raises
    ------
    OSError
        If one of the folders cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail, followlinks=True):
        for name in names:
            yield (Path(parent) / name).relative_to(folder).as_posix()


def find_parquet_files(folder: Path) -> ParquetFiles:
    """Return the files of a folder that hold its rows, as :func:`choose_parquet_files` does."""
    with explain_access_errors(folder):
        return choose_parquet_files(
            folder_names(folder),
            lambda name: (folder / name).read_text(encoding="utf-8", errors="replace"),
            str(folder),
        )


def choose_parquet_files(
    names: Iterable[str], read_text: Callable[[str], str], folder: str
) -> ParquetFiles:
    """Choose the files that hold a folder's rows by their names.

    Parameters
    ----------
    names : iterable of str
        Paths of all files in the folder, with slashes.
    read_text : callable
        Returns the text of one of them.
    folder : str
        What messages call the folder.

    Raises
    ------
    SourceFormatError
        If there are several catalogues, only margins or indexes of one, or no rows.
    """
    names = list(names)
    tables = {
        name.removesuffix(PROPERTIES): _read_properties(read_text(name))
        for name in names
        if name.rpartition("/")[2] == PROPERTIES
    }
    with_stars = [place for place, table in tables.items() if _kind(table) in _STARS]
    if len(with_stars) > 1:
        msg = (
            f"{folder} holds {len(with_stars)} HATS catalogues ({', '.join(with_stars)}); give the "
            f"folder of one of them"
        )
        raise SourceFormatError(msg)
    if tables and not with_stars:
        kinds = ", ".join(sorted(set(map(_kind, tables.values()))))
        msg = f"{folder} holds a HATS table of the kind {kinds}; give the folder of its stars"
        raise SourceFormatError(msg)
    place = with_stars[0] if with_stars else ""
    files = [name for name in names if name.startswith(place) and is_parquet_name(name)]
    partitions = [name for name in files if _PARTITION in name]
    if partitions or with_stars:
        files = partitions
    if not files:
        msg = f"{folder} holds no Parquet files with rows; expected at least one .parquet file"
        raise SourceFormatError(msg)
    stated = tables[place].get("hats_nrows", "") if with_stars else ""
    return ParquetFiles(tuple(sorted(files)), int(stated) if stated.isdecimal() else None)


def _kind(properties: Mapping[str, str]) -> str:
    return properties.get("dataproduct_type", _STARS[0])


def _read_properties(text: str) -> dict[str, str]:
    """Return the entries ``key=value`` of a properties file."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}
