import csv
from pathlib import Path

import pytest

from galahstream.learn.metrics import LabelMetrics
from galahstream.learn.observers.history import write_history
from galahstream.learn.results import EpochRecord, finite_or_none, metrics_by_name

NAN = float("nan")
RECORD = EpochRecord(
    epoch=1, train_loss=0.5, val_loss=0.25, labels=(LabelMetrics("teff", "K", 90, 70, 1, NAN),),
    learning_rate=1e-3, spectra_per_s=1e4, waiting_share=0.125, seconds=2.0,
)  # fmt: skip
COLUMNS = [
    "epoch", "train_loss", "val_loss", "learning_rate", "spectra_per_s", "waiting_share",
    "seconds", "val_rmse_teff", "val_r2_teff",
]  # fmt: skip


def test_a_record_is_a_flat_row() -> None:
    row = RECORD.as_row()
    assert list(row) == COLUMNS
    assert row["val_rmse_teff"] == 90


def test_the_history_has_a_line_per_epoch(tmp_path: Path) -> None:
    write_history([RECORD, RECORD], tmp_path / "history.csv")
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert list(rows[0]) == COLUMNS
    assert float(rows[1]["val_loss"]) == 0.25


def test_metrics_for_json_have_no_nan() -> None:
    assert metrics_by_name(RECORD.labels) == {
        "teff": {
            "name": "teff", "unit": "K", "rmse": 90, "mae": 70, "bias": 1, "r2": None,
            "n": None, "scatter": None, "information_limit": None, "uncertainty": None,
        }
    }  # fmt: skip


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_none(value: float) -> None:
    assert finite_or_none(value) is None
    assert finite_or_none(0.0) == 0.0
