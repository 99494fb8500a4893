"""``galahstream verify``: check every spectrum of a store, and restore damaged ones."""

import argparse
from pathlib import Path

from galahstream.cli.command import CommandResult, Commands, add_command, one_source
from galahstream.cli.convert import JOINS, add_column_options
from galahstream.errors import OptionError

_OF_REPAIR = ("catalogue", "join", "flux_column", "wavelength_column", "ivar_column")


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "verify", run, "check every spectrum of a store against its digest", "store"
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder or HDF5 file")
    parser.add_argument(
        "--repair",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="restore damaged spectra from the source that the store was converted from",
    )
    group = parser.add_argument_group("as in the conversion, with --repair")
    group.add_argument(
        "--catalogue",
        type=Path,
        metavar="FILE",
        help="catalogue whose velocities shifted the spectra to rest",
    )
    group.add_argument(
        "--join", choices=JOINS, help="id that matches stars and catalogue (default: sobject_id)"
    )
    add_column_options(group)


def run(options: argparse.Namespace) -> CommandResult:
    """List the damaged rows; the status is 1 if there are any, unless they were restored."""
    if options.repair is None:
        for name in _OF_REPAIR:
            if getattr(options, name) is not None:
                msg = f"--{name.replace('_', '-')} is for --repair SOURCE; give both"
                raise OptionError(msg)
        return _verify(options.store)
    return _repair(options)


def _verify(path: Path) -> CommandResult:
    from galahstream.store import open_store

    with open_store(path) as store:
        damaged_rows = store.verify(progress=True)
        damaged = [
            {"row": row, "id": int(store.ids[row]), "array": name, "place": array.locate(row)}
            for name, array in store.spectra.items()
            for row in array.find_damaged(damaged_rows).tolist()
        ]
        n_stars = len(store)
    damaged.sort(key=lambda one: one["row"])
    lines = [f"damaged     row {one['row']} (star {one['id']}): {one['place']}" for one in damaged]
    cure = "restore them from the source with --repair SOURCE"
    verdict = f"{len(damaged_rows):,} damaged; {cure}" if damaged else "intact"
    lines.append(f"{path}: {n_stars:,} stars, {verdict}")
    data = {"path": str(path), "stars": n_stars, "damaged": damaged}
    return CommandResult("\n".join(lines), data, status=1 if damaged else 0)


def _repair(options: argparse.Namespace) -> CommandResult:
    from galahstream.conversion.repair import repair
    from galahstream.sources.parquet import ColumnNames

    path: Path = options.store
    restored = repair(
        path,
        one_source(options.repair),
        columns=ColumnNames(options.flux_column, options.wavelength_column, options.ivar_column),
        catalogue=options.catalogue,
        join=options.join or "sobject_id",
    ).tolist()
    verdict = f"{len(restored):,} restored" if restored else "intact, nothing to restore"
    lines = [*(f"restored    row {row}" for row in restored), f"{path}: {verdict}"]
    return CommandResult("\n".join(lines), {"path": str(path), "restored": restored})
