"""A mock survey, its store, training and pictures in one go: python scripts/demo.py demo."""

import json
import math
import shutil
import sys
from pathlib import Path

from galahstream.cli.main import main as galahstream

STARS, EPOCHS = 2000, 3


def main() -> int:
    """Simulate, convert, plot and train in the folder that is named, which is emptied first."""
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
        f"{EPOCHS} epochs on so few stars show that everything works, not how much can be learnt;\n"
        f"'make picture' trains for 10 epochs on 8,914 stars.\n\n"
        f"pictures  {folder / 'spectrum.png'}, {run}/loss.png, {run}/predictions.png\n"
        f"model     {run}/model.pt\n"
        f"errors    {_errors(run)}\n"
        f"look      .venv/bin/tensorboard --logdir {run}"
    )
    return 0


def _errors(run: str) -> str:
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    return "\n          ".join(
        f"{label['name']:<6} RMSE {label['rmse']:.3g} {label['unit']}; "
        f"{label['rmse'] / math.sqrt(1 - label['r2']):.3g} {label['unit']} if the mean is guessed"
        for label in metrics["test"].values()
    )


if __name__ == "__main__":
    sys.exit(main())
