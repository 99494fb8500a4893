"""Write the report of whatever a path holds: a run or a store."""

import os
from pathlib import Path

from galahstream.errors import OptionError
from galahstream.learn.run import RunFolder
from galahstream.report.run import write_run_page
from galahstream.report.store import write_store_page
from galahstream.store import open_store
from galahstream.system.atomic import relation_to


def write_report(path: str | os.PathLike[str], out: str | os.PathLike[str] = "report.html") -> Path:
    """Write one page of HTML, with all pictures in it, about a finished run or a store.

    Parameters
    ----------
    path : path-like
        The folder of a run, or a store.
    out : path-like
        The page to write. One that exists is replaced, at once and completely.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OptionError
        If the page would be a file of the store.
    SourceMissingError
        If the path does not exist, or its run is not finished.
    CheckpointError
        If a file of the run is not what training writes.
    StoreFormatError
        If the store is damaged.
    """
    source, page = Path(path).absolute(), Path(out).absolute()
    folder = RunFolder(source)
    if folder.looks_like_a_run():
        write_run_page(folder, page)
        return page
    with open_store(source) as store:
        relation = relation_to(page.resolve(), source.resolve())
        if relation in ("is", "is inside"):
            msg = f"{page} {relation} the store; choose another file (out=, --out)"
            raise OptionError(msg)
        write_store_page(store, page)
    return page
