"""Lines for people from what the library returns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from galahstream.cli.command import CommandResult
from galahstream.survey.fill_values import as_typed

if TYPE_CHECKING:
    from galahstream.learn.diagnosis import Diagnosis
    from galahstream.learn.metrics import GroupMetrics, LabelMetrics
    from galahstream.store import Store
    from galahstream.store.info import StoreInfo
    from galahstream.store.manifest import LabelColumn
    from galahstream.survey.provenance import Provenance
    from galahstream.survey.selection import Cut


def described(store: "Store") -> CommandResult:
    """Return the description of a store that a command made, and close it."""
    with store:
        info = store.describe()
    return CommandResult("\n".join(store_lines(info)), info.as_dict())


def store_lines(info: "StoreInfo") -> list[str]:
    """Return the description of a store, one fact per line."""
    grid, quantization = info.wavelength_range, info.quantization
    covered = "" if grid is None else f", {grid[0]:.2f} to {grid[1]:.2f} Å"
    split = ", ".join(f"{name} {count:,}" for name, count in info.split)
    pixel_counts = ", ".join(f"{count:,} {name}" for name, count in vars(info.pixel_counts).items())
    lines = [
        f"{info.path}: {info.stars:,} stars of {info.pixels:,} pixels, {info.format} "
        f"{info.dtype}{_chunks(info)}, {info.bytes / 1e6:,.1f} MB",
        *([f"members     {info.members} stores"] if info.members else []),
        f"read        {info.access}: {info.access_reason}",
        f"wavelength  {info.wavelength}{covered}",
        *_provenance(info.provenance),
        f"split       {split} (seed {info.split_seed}{_groups(info)})",
        f"odd pixels  {pixel_counts}",
    ]
    if quantization is not None:
        lines.append(
            f"16 bits     flux = {quantization.bzero:g} + {quantization.bscale:g} x stored value, "
            f"off by at most {quantization.largest_error:.2g}; "
            f"{quantization.clipped:,} pixels clipped"
        )
    if info.error_counts is not None:
        counts = ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in vars(info.error_counts).items()
        )
        unknown = info.error_counts.unknown
        lines.append(f"errors      float16; unknown for {unknown:,} pixels: {counts}")
    if info.row_order == "source":
        lines.append("rows        in the source's order: flux.npy is the source's own file")
    if not info.labels:
        lines.append("labels      none: usable for prediction, not for training")
    lines += [_label_statistics(column) for column in info.labels]
    if info.missing_values:
        values = ", ".join(map(as_typed, info.missing_values))
        lines.append(f"missing     label values {values} of the source")
    lines += [_cut(cut) for cut in info.cuts]
    lines += [
        f"flag        {count.column} {count.bit} ({count.meaning}): {count.stars:,} stars"
        for count in info.flags
    ]
    lines += [f"warning     {warning}" for warning in info.warnings]
    lines += [f"note        {note}" for note in info.notes]
    lines += [f"skipped     star {star}: {reason}" for star, reason in info.skipped]
    if info.skipped:
        lines.append(f"skipped     {len(info.skipped):,} stars in all")
    return lines


def _chunks(info: "StoreInfo") -> str:
    if info.chunk_rows is None:
        return ""
    rows = f" in chunks of {info.chunk_rows} rows" if info.chunk_rows > 1 else ""
    return rows + ("" if info.compression is None else f" with {info.compression}")


def _provenance(provenance: "Provenance") -> list[str]:
    facts = [" ".join(filter(None, (provenance.survey, provenance.release)))]
    if provenance.frame is not None:
        facts.append(f"{provenance.frame} frame")
    if provenance.grid is not None:
        method = f" ({provenance.resampling})" if provenance.resampling else ""
        facts.append(f"grid {provenance.grid}{method}")
    text = ", ".join(filter(None, facts))
    return [f"spectra     {text}"] if text else []


def _groups(info: "StoreInfo") -> str:
    return "" if info.groups is None else f", equal {info.groups} in one part"


def _cut(cut: "Cut") -> str:
    unknown = f", {cut.unknown:,} of them without a value" if cut.unknown else ""
    return f"cut         {cut.condition}: {cut.removed:,} stars removed{unknown}"


def _label_statistics(column: "LabelColumn") -> str:
    values = (
        "no values"
        if column.mean is None
        else f"{column.minimum:.4g} to {column.maximum:.4g}, mean {column.mean:.4g} "
        f"± {column.std:.3g}"
    )
    missing = f", {column.missing:,} missing" if column.missing else ""
    return f"  {column.name:<9} {values} {column.unit}{missing}".rstrip()


def label_lines(labels: Sequence["LabelMetrics"]) -> list[str]:
    """Return the errors of a model, one label per line, and those of its uncertainties."""
    lines = [
        f"  {label.name:<6} RMSE {label.rmse:.4g} {label.unit}, bias {label.bias:+.3g} "
        f"{label.unit}, scatter {label.scatter:.4g} {label.unit}, R² {label.r2:.3f}, "
        f"{label.n:,} stars"
        for label in labels
    ]
    for label in labels:
        if label.uncertainty is not None:
            found = label.uncertainty
            lines.append(
                f"  {label.name:<6} pulls {found.pull_mean:+.2f} ± {found.pull_std:.2f}, "
                f"{found.coverage_68:.1%} within 1 σ, {found.coverage_95:.1%} within 2 σ"
            )
    return lines


def group_lines(groups: Sequence["GroupMetrics"]) -> list[str]:
    """Return the errors of a model in groups of stars, one group per line."""
    lines = []
    for group in groups:
        stars = "1 star" if group.n_stars == 1 else f"{group.n_stars:,} stars"
        errors = ", ".join(
            f"{label.name} {label.rmse:.4g} {label.unit}".rstrip()
            for label in group.labels
            if label.n
        )
        lines.append(f"  {group.by} {group.group} ({stars}): RMSE {errors or 'of no label'}")
    return lines


def diagnosis_lines(diagnosis: "Diagnosis") -> list[str]:
    """Return what the parts of training cost, one part per line, and what bounds it."""
    rates, setting = diagnosis.rates, diagnosis.setting
    workers = "1 thread" if setting.num_workers == 1 else f"{setting.num_workers} threads"
    parts: list[tuple[str, float | None, str]] = [
        ("reading", rates.reading, "1 thread, rows that were read before"),
        (
            "verification",
            rates.verification,
            "1 thread that reads and verifies, in the first epoch",
        ),
        ("decoding", rates.decoding, f"1 thread that reads and makes batches, {setting.kernels}"),
        ("transfer", rates.transfer, f"to {setting.device}"),
        ("first data", rates.first_data, f"{workers}, rows that were not read before"),
        ("data", rates.data, f"{workers}, rows that were read before"),
        ("step", rates.step, f"{setting.model} on {setting.device}, {setting.batch_size} stars"),
        ("together", rates.together, f"the device waits {diagnosis.waiting_share:.0%} of the time"),
    ]
    lines = [
        f"{name:<13}{rate:>12,.0f} spectra/s   {what}"
        for name, rate, what in parts
        if rate is not None
    ]
    return [*lines, diagnosis.sentence]
