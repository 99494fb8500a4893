"""The whole way on a mock survey: stars, store, training, pictures: python scripts/demo.py demo."""

import json
import shutil
import sys
from pathlib import Path

from galahstream.cli.main import main as galahstream

STARS, EPOCHS = 2000, 3


def main() -> int:
    """Make, convert, train and draw below the folder that is named, anew each time."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    raw, store, run = (str(folder / name) for name in ("raw", "store", "run"))
    for step in (
        ["mock", raw, "--stars", str(STARS)],
        ["convert", raw, store],
        ["plot", store, "--out", str(folder / "spectrum.png")],
        ["train", store, "--epochs", str(EPOCHS), "--out", run],
    ):
        print(f"\n$ galahstream {' '.join(step)}", flush=True)
        status = galahstream(step)
        if status:
            return status
    print(
        f"\nThis was a mock survey of {STARS:,} stars, not the real data (data/README.md).\n"
        f"pictures  {folder / 'spectrum.png'}, {run}/loss.png, {run}/predictions.png\n"
        f"model     {run}/model.pt\n"
        f"numbers   {_numbers(run)}\n"
        f"look      .venv/bin/tensorboard --logdir {run}"
    )
    return 0


def _numbers(run: str) -> str:
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    labels = metrics["test"].values()
    errors = ", ".join(f"RMSE {x['name']} {x['rmse']:.3g} {x['unit']}" for x in labels)
    return f"{errors}; {metrics['seconds']:.0f} s of training and validation"


if __name__ == "__main__":
    sys.exit(main())
