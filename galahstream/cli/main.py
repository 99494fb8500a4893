"""The command line: parsing and printing; the work is done in the other modules."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from galahstream._version import __version__
from galahstream.errors import GalahStreamError, OptionError
from galahstream.survey.wavelength import Window


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 when it is done, 1 for input that was refused or is damaged."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], dict[str, Any]] = options.command
    try:
        result = command(options)
    except (GalahStreamError, OSError) as error:
        if options.debug:
            raise
        print(f"galahstream: {_one_line(error)}", file=sys.stderr)
        _print_notes(error)
        return 1
    except KeyboardInterrupt as error:
        print("galahstream: interrupted", file=sys.stderr)
        _print_notes(error)
        return 130
    text, status = result.pop("text"), result.pop("status", 0)
    print(json.dumps(result, indent=1) if options.json else text)
    return int(status)


def convert_main() -> int:
    """Run ``galahstream convert`` with the arguments of the process."""
    return main(["convert", *sys.argv[1:]])


def train_main() -> int:
    """Run ``galahstream train`` with the arguments of the process."""
    return main(["train", *sys.argv[1:]])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _print_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        print(f"galahstream: {note}", file=sys.stderr)


def _mock(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.conversion.export import write_npy_pair
    from galahstream.mock.source import MockSource

    source = MockSource(options.stars, options.seed, options.frame, options.jobs)
    write_npy_pair(source, options.dest, overwrite=options.overwrite)
    text = f"{options.dest}: {source.name}, spectra.npy and labels.npy; mock, not observed"
    return {"path": str(options.dest), "stars": len(source), "seed": options.seed, "text": text}


def _convert(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.conversion.convert import convert

    if len(options.source) > 2:
        msg = f"{len(options.source)} sources; expected one, or two: spectra.npy labels.npy"
        raise OptionError(msg)
    source = options.source[0] if len(options.source) == 1 else tuple(options.source)
    with convert(
        source,
        options.dest,
        format=options.format,
        dtype=options.dtype,
        flux_range=options.flux_range,
        compression=options.compression,
        chunk_rows=options.chunk_rows,
        labels=options.labels,
        wavelength=options.wavelength,
        groups=options.groups,
        split=options.split,
        seed=options.seed,
        on_bad=options.on_bad,
        in_place=options.in_place,
        jobs=options.jobs,
        resume=options.resume,
        take_over=options.take_over,
        overwrite=options.overwrite,
    ) as store:
        return _described(store)


def _info(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.store import open_store

    with open_store(options.store) as store:
        return _described(store)


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.conversion.repair import repair
    from galahstream.store import open_store

    if options.repair is not None:
        source = options.repair[0] if len(options.repair) == 1 else tuple(options.repair)
        restored = repair(options.store, source).tolist()
        found = f"{len(restored):,} restored" if restored else "sound, nothing to restore"
        lines = [f"restored    row {row}" for row in restored] + [f"{options.store}: {found}"]
        return {"path": str(options.store), "restored": restored, "text": "\n".join(lines)}
    with open_store(options.store) as store:
        damaged = store.verify(progress=True).tolist()
        places = [store.flux.reader.where(row) for row in damaged]
        ids = store.ids[damaged].tolist()
        lines = [
            f"damaged     row {row} (star {star}): {place}"
            for row, star, place in zip(damaged, ids, places, strict=True)
        ]
        cure = "restore them from the source with --repair SOURCE"
        found = f"{len(damaged):,} are damaged; {cure}" if damaged else "sound"
        lines.append(f"{options.store}: {len(store):,} stars, {found}")
        return {
            "path": str(options.store),
            "stars": len(store),
            "damaged": [
                {"row": row, "id": star, "place": place}
                for row, star, place in zip(damaged, ids, places, strict=True)
            ],
            "status": 1 if damaged else 0,
            "text": "\n".join(lines),
        }


def _described(store: Any) -> dict[str, Any]:
    info = store.info()
    grid = info["wavelength_range"]
    covered = "" if grid is None else f", {grid[0]:.2f} to {grid[1]:.2f} Å"
    split = ", ".join(f"{name} {count:,}" for name, count in info["split"].items())
    odd = ", ".join(f"{count:,} {name}" for name, count in info["pixel_counts"].items())
    lines = [
        f"{info['path']}: {info['stars']:,} stars of {info['pixels']:,} pixels, {info['format']} "
        f"{info['dtype']}, {info['bytes'] / 1e6:,.1f} MB",
        f"read        {info['reading']}: {info['reading_because']}",
        f"wavelength  {info['wavelength']}{covered}",
        f"split       {split} (seed {info['split_seed']})",
        f"odd pixels  {odd}",
    ]
    stored = info["quantization"]
    if stored is not None:
        lines.append(
            f"16-bit code flux = {stored['bzero']:g} + {stored['bscale']:g} x code, off by at most "
            f"{stored['largest_error']:.2g}; {stored['clipped']:,} pixels clipped"
        )
    if info["row_order"] == "source":
        lines.append("rows        in the source's order: flux.npy is the source's own file")
    if not info["labels"]:
        lines.append("labels      none: this store can be predicted for, not trained on")
    for name, column in info["labels"].items():
        values = (
            "no values"
            if column["mean"] is None
            else f"{column['minimum']:.4g} to {column['maximum']:.4g}, mean {column['mean']:.4g} "
            f"± {column['std']:.3g}"
        )
        missing = f", {column['missing']:,} missing" if column["missing"] else ""
        lines.append(f"  {name:<9} {values} {column['unit']}{missing}".rstrip())
    for star, reason in info["skipped"]:
        lines.append(f"skipped     star {star}: {reason}")
    if info["skipped"]:
        lines.append(f"skipped     {len(info['skipped']):,} stars in all")
    return {**info, "text": "\n".join(lines)}


def _plot(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.plots.spectrum import plot_spectrum
    from galahstream.store import open_store

    with open_store(options.store) as store:
        if not 0 <= options.row < len(store):
            msg = f"{options.store}: no row {options.row}; expected 0 to {len(store) - 1}"
            raise OptionError(msg)
        values = [
            f"{name} {column[options.row]:.4g} {store.label_units[name]}".rstrip()
            for name, column in store.labels.items()
            if name in ("teff", "logg", "fe_h")
        ]
        title = ", ".join([f"star {store.ids[options.row]}", *values])
        plot_spectrum(
            store.wavelength,
            store.flux[options.row],
            title,
            options.out.absolute(),
            wavelength_is_nominal=store.wavelength_is_nominal,
        )
    return {"path": str(options.out), "text": f"{options.out}: {title}"}


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.learn.trainer import REFERENCE_SECONDS, train

    result = train(
        options.store,
        options.out,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        seed=options.seed,
        device=options.device,
        labels=options.labels or ("teff", "logg", "fe_h"),
        window=_window(options.window),
        missing=options.missing,
        num_workers=options.workers,
        shuffle_block=options.shuffle_block,
        resume=options.resume,
        report=lambda line: print(line, file=sys.stderr),
    )
    lines = [
        f"test stars: loss {result.test_loss:.4f}",
        *_label_lines(result.test),
        f"training and validation took {result.seconds:.1f} s; the run this starts from "
        f"{REFERENCE_SECONDS:.0f} s for 10 epochs",
        *result.notes,
        f"model, history.csv, metrics.json and pictures are in {result.out}",
        f"tensorboard --logdir {result.out}",
    ]
    metrics = json.loads((result.out / "metrics.json").read_text())
    return {**metrics, "out": str(result.out), "text": "\n".join(lines)}


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.learn.inference import evaluate
    from galahstream.learn.trained_model import load_model

    found = evaluate(
        load_model(options.model),
        options.store,
        options.split,
        missing=options.missing,
        batch_size=options.batch_size,
        device=options.device,
    )
    lines = [
        f"{found.n_stars:,} stars of {found.split!r}: loss {found.loss:.4f}",
        *_label_lines(found.labels),
    ]
    if not found.same_split:
        lines.append("the split is not the one that the model was trained with: it may know stars")
    return {**found.as_dict(), "text": "\n".join(lines)}


def _predict(options: argparse.Namespace) -> dict[str, Any]:
    from galahstream.learn.inference import predict
    from galahstream.learn.trained_model import load_model

    found = predict(
        load_model(options.model),
        options.store,
        options.split,
        batch_size=options.batch_size,
        device=options.device,
    )
    found.write_csv(options.out)
    columns = ", ".join(
        f"{name} [{unit}]" if unit else name
        for name, unit in zip(found.names, found.units, strict=True)
    )
    text = f"{options.out}: {len(found.ids):,} stars, columns id, {columns}"
    return {"path": str(options.out), "stars": len(found.ids), "text": text}


def _label_lines(labels: Sequence[Any]) -> list[str]:
    return [
        f"  {label.name:<6} RMSE {label.rmse:.4g} {label.unit}, bias {label.bias:+.3g} "
        f"{label.unit}, R² {label.r2:.3f}"
        for label in labels
    ]


def _window(text: str | None) -> Window:
    if text is None or ":" not in text:
        return text
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        msg = f"window {text!r} cannot be read; expected a camera's name, or Å as in 6550:6580"
        raise OptionError(msg) from error


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def three_parts(text: str) -> list[float]:
    """Read ``0.7,0.15,0.15``; argparse names this function when it cannot."""
    return [float(part) for part in text.split(",")]


def low_and_high(text: str) -> tuple[float, float]:
    """Read ``-0.5,2.8``; argparse names this function when it cannot."""
    low, high = text.split(",")
    return float(low), float(high)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="galahstream",
        description="Turn survey spectra into files that stream into a network.",
        epilog="example: galahstream convert raw store && galahstream train store",
    )
    parser.add_argument("--version", action="version", version=f"galahstream {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        name: str, run: Callable[[argparse.Namespace], dict[str, Any]], text: str, example: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text, description=text.capitalize() + ".", epilog=f"example: {example}"
        )
        added.set_defaults(command=run)
        added.add_argument("--json", action="store_true", help="print the result for programs")
        added.add_argument("--debug", action="store_true", help="show where an error came from")
        return added

    mock = command(
        "mock",
        _mock,
        "make a mock survey: spectra.npy and labels.npy",
        "galahstream mock raw --stars 8914",
    )
    mock.add_argument("dest", type=Path, metavar="DEST")
    mock.add_argument("--stars", type=int, default=8914, help="number of stars (8914)")
    mock.add_argument("--seed", type=int, default=42, help="same seed, same bytes (42)")
    mock.add_argument("--frame", default="observed", help="observed or rest (observed)")
    mock.add_argument("--jobs", type=int, help="processes (one a core)")
    mock.add_argument("--overwrite", action="store_true", help="replace DEST when it is there")

    convert = command(
        "convert",
        _convert,
        "write the spectra of a source into a store",
        "galahstream convert raw store.h5 --format hdf5",
    )
    convert.add_argument(
        "source", nargs="+", type=Path, metavar="SOURCE",
        help="folder with spectra.npy, the two .npy files, HDF5 file, or folder of FITS files",
    )  # fmt: skip
    convert.add_argument("dest", type=Path, metavar="DEST")
    convert.add_argument("--format", default="npy", help="npy or hdf5 (npy)")
    convert.add_argument("--dtype", default="float32", help="float32 or uint16 (float32)")
    convert.add_argument(
        "--flux-range",
        type=low_and_high,
        help="flux that uint16 holds, as in --flux-range=-1,4 (-0.5,2.7767)",
    )
    convert.add_argument("--compression", help="gzip or lzf, for hdf5 (none)")
    convert.add_argument("--chunk-rows", type=int, default=1, help="rows a chunk, for hdf5 (1)")
    convert.add_argument(
        "--labels", type=_names, help="names of the label columns: teff,logg,feh[dex] or teff=T_EFF"
    )
    convert.add_argument("--wavelength", type=Path, help=".npy file with one Å value per pixel")
    convert.add_argument("--groups", help="column, or ids: rows with equal values stay together")
    convert.add_argument(
        "--split", type=three_parts, default=(0.70, 0.15, 0.15), help="(0.70,0.15,0.15)"
    )
    convert.add_argument("--seed", type=int, default=42, help="of the split (42)")
    convert.add_argument("--on-bad", default="raise", help="raise or skip spectra without flux")
    convert.add_argument(
        "--in-place", action="store_true", help="link the source's .npy file instead of copying it"
    )
    convert.add_argument("--jobs", type=int, help="threads (one a core)")
    convert.add_argument(
        "--no-resume", dest="resume", action="store_false",
        help="begin anew instead of going on where a conversion was cut off",
    )  # fmt: skip
    convert.add_argument(
        "--take-over", action="store_true",
        help="go on with what a process of another host began, which must be gone",
    )  # fmt: skip
    convert.add_argument("--overwrite", action="store_true", help="replace DEST when it is there")

    info = command("info", _info, "tell what a store holds", "galahstream info store")
    info.add_argument("store", type=Path, metavar="STORE")

    verify = command(
        "verify", _verify, "check every spectrum of a store", "galahstream verify store"
    )
    verify.add_argument("store", type=Path, metavar="STORE")
    verify.add_argument(
        "--repair", nargs="+", type=Path, metavar="SOURCE",
        help="restore damaged rows from the source that the store was converted from",
    )  # fmt: skip

    plot = command(
        "plot",
        _plot,
        "draw one star",
        "galahstream plot store --row 12 --out spectrum.png",
    )
    plot.add_argument("store", type=Path, metavar="STORE")
    plot.add_argument("--row", type=int, default=0, help="row of the store (0)")
    plot.add_argument("--out", type=Path, default=Path("spectrum.png"), help="(spectrum.png)")

    train = command(
        "train", _train, "train the network on a store", "galahstream train store --epochs 10"
    )
    train.add_argument("store", type=Path, metavar="STORE")
    train.add_argument("--epochs", type=int, default=10, help="(10)")
    train.add_argument("--batch-size", type=int, default=32, help="(32)")
    train.add_argument("--lr", type=float, default=1e-3, help="learning rate (0.001)")
    train.add_argument("--seed", type=int, default=42, help="of weights and order (42)")
    train.add_argument("--device", default="auto", help="cuda, mps, cpu or auto (auto)")
    train.add_argument("--labels", type=_names, help="what to learn (teff,logg,fe_h)")
    train.add_argument("--window", help="a camera, or Å as in 6550:6580")
    train.add_argument("--missing", default="raise", help="raise or drop stars without a label")
    train.add_argument("--workers", type=int, default=2, help="loader threads (2)")
    train.add_argument(
        "--shuffle-block", type=int, help="shuffle blocks of so many stars (none: every star)"
    )
    train.add_argument("--out", type=Path, default=Path("runs/first"), help="(runs/first)")
    train.add_argument(
        "--resume", action="store_true", help="go on with the run in OUT that was cut off"
    )

    evaluate = command(
        "evaluate",
        _evaluate,
        "measure a saved model on a store, training nothing",
        "galahstream evaluate runs/first/model.pt store",
    )
    predict = command(
        "predict",
        _predict,
        "write the labels that a saved model predicts as CSV",
        "galahstream predict runs/first/model.pt store --out labels.csv",
    )
    for added, split in ((evaluate, "test"), (predict, "all")):
        added.add_argument("model", type=Path, metavar="MODEL")
        added.add_argument("store", type=Path, metavar="STORE")
        added.add_argument("--split", default=split, help=f"train, val, test or all ({split})")
        added.add_argument("--batch-size", type=int, default=32, help="(32)")
        added.add_argument("--device", default="auto", help="cuda, mps, cpu or auto (auto)")
    evaluate.add_argument("--missing", default="raise", help="raise or drop (raise)")
    predict.add_argument("--out", type=Path, required=True, help="the CSV to write")
    return parser
