"""`linnaeus inspect`: what is wrong with a data set, told before an hour of training is spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from linnaeus.cli.bars import Bars
from linnaeus.cli.data_options import AS_IT_IS, DataOptions
from linnaeus.config.pages import overlay, read_recipe, settings_from
from linnaeus.config.settings import RunConfig, parse_config
from linnaeus.errors import DataNotFoundError, nearest_name

if TYPE_CHECKING:
    from linnaeus.analysis.audit_types import Audit
    from linnaeus.data.manifest import Manifest
    from linnaeus.report.audit_trace import TraceView

_TRACE_SAMPLE = 200


def inspect(
    data: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    save: Path | None = None,
    trace: str | None = None,
    data_options: DataOptions = AS_IT_IS,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
) -> int:
    """Check labelled images for problems: broken files, duplicates, leaks between splits, shortcuts.

    Example: linnaeus inspect photos/

    Writes audit.html (for people) and audit.json (for programs). The folder of the images is not changed.

    Parameters
    ----------
    data
        Whatever `linnaeus train` takes: folders, a table, arrays, bounding boxes, or a built-in data set (`digits`).
    out
        Folder for the audit. Default: runs/NAME-audit, where an earlier audit is replaced.
    save
        Also save the data set as one file, such as data.parquet, which `linnaeus train` and `linnaeus inspect` can
        read.
    trace
        Show every processing step of one image, given by its path or by its name in the data.
    set_
        Any other setting of `linnaeus train`, as section.field=value; used by `--trace`. Repeat the option for several.
    """
    settings = overlay({"data": data_options.page(data)}, settings_from(set_))
    config = parse_config(settings, where="the settings")
    out = out or _audit_folder(config.data.source)
    _check_outside(config, out, save)

    from linnaeus.analysis.audit import audit  # takes seconds: scikit-learn, torch
    from linnaeus.analysis.health import examine
    from linnaeus.atomic import write_json
    from linnaeus.data.intake import read_manifest
    from linnaeus.report.audit_page import AuditFacts, write_audit_page
    from linnaeus.report.thumbnails import thumbnail_of

    bars = Bars()
    manifest = read_manifest(config.data)
    _check_outside(config, out, save, manifest)
    followed = None if trace is None else _trace(manifest, trace, settings)
    found = audit(manifest, examine(manifest, progress=bars), source=data, seed=config.seed, progress=bars)
    title = Path(data).name or data
    write_json(out / "audit.json", found.model_dump(mode="json"))
    write_audit_page(out / "audit.html", AuditFacts(title, found, thumbnail_of(manifest), followed))
    if save is not None:
        manifest.save(save)
    _print(found, bars, title=title, followed=followed)
    bars.say(f"\nPage     {out / 'audit.html'}\nAudit    {out / 'audit.json'}")
    if save is not None:
        bars.say(f"Saved    {save}; train on it with: linnaeus train {save}")
    return 0


def _audit_folder(source: str) -> Path:
    path = Path(source).expanduser()
    return Path("runs") / f"{path.resolve().stem if path.is_file() else path.resolve().name}-audit"


def _check_outside(config: RunConfig, out: Path, save: Path | None, manifest: Manifest | None = None) -> None:
    """Raises OutputError for a file that would lie in a folder of the user's images."""
    from linnaeus.data.folders import check_outside  # takes part of a second: pyarrow

    check_outside(out, config.data, manifest)
    if save is not None:
        check_outside(save, config.data, manifest, option="--save")


def _print(audit: Audit, bars: Bars, *, title: str, followed: TraceView | None) -> None:
    """The audit in a screen: splits, classes, findings, and the traced image."""
    counts = audit.counts
    splits = ", ".join(f"{number:,} {name}" for name, number in audit.splits.items())
    what = "images" if audit.num_scenes is None else f"objects in {audit.num_scenes:,} scenes,"
    bars.say(f"\n{title}: {audit.num_images:,} {what} of {len(audit.classes)} classes ({splits})")
    totals = {name: sum(row[name] for row in counts.values()) for name in audit.classes}
    most = max([1, *totals.values()])
    order = sorted(totals, key=lambda name: -totals[name])
    shown = order if len(order) <= 14 else [*order[:10], *order[-3:]]
    width = min(24, max(map(len, shown)))
    for position, name in enumerate(shown):
        if len(order) > 14 and position == 10:
            bars.say(f"  {'...':{width}}  {len(order) - 13} more")
        bar = "█" * max(round(24 * totals[name] / most), int(totals[name] > 0))
        bars.say(f"  {name[:width]:{width}} {totals[name]:>8,}  {bar}")
    sizes = audit.sizes
    if sizes.width and sizes.height:
        median = f"{sizes.width.median:.0f} x {sizes.height.median:.0f} px (median)"
        formats = ", ".join(f"{number:,} {name}" for name, number in audit.formats.items())
        bars.say(f"Sizes: {median}, {sizes.num_different:,} different{f'; {formats}' if formats else ''}")
    if audit.skipped:
        bars.say("Skipped: " + ", ".join(f"{number:,} {why}" for why, number in audit.skipped.items()))
    for note in audit.notes:
        bars.say(note)
    bars.say("")
    signs = {"serious": "!!", "look": " !", "fine": "ok"}
    for finding in audit.findings:
        bars.say(f"{signs[finding.level]} {finding.what}: {finding.sentence}")
    if followed is not None:
        bars.say(f"\n{followed.id} ({followed.labels})")
        for step in followed.steps:
            bars.say(f"  {step.name:<10}  {step.shape:<18} {step.dtype:<9} {step.range:<16} {step.what}")


def _trace(manifest: Manifest, name: str, settings: Mapping[str, Any]) -> TraceView:
    """Follow one image as training with these settings would treat it."""
    import tempfile

    import numpy as np

    from linnaeus.analysis.duplicate_groups import labels_of
    from linnaeus.analysis.trace import trace_image
    from linnaeus.config.resolved import resolve_image
    from linnaeus.data.cache.images import open_cache
    from linnaeus.data.image_spec import spec_from_config
    from linnaeus.data.manifest import TRAIN, UNASSIGNED
    from linnaeus.data.statistics import channel_statistics, is_grey, sample_rows
    from linnaeus.planning.fingerprint import take_fingerprint
    from linnaeus.planning.image import plan_image
    from linnaeus.planning.labels import plan_folds
    from linnaeus.planning.plan import Plan
    from linnaeus.planning.recipe import choose_recipe
    from linnaeus.planning.training import plan_training
    from linnaeus.planning.transfer import plan_backbone
    from linnaeus.report.audit_trace import view_of
    from linnaeus.run.begin import image_spec

    row = _row_of(manifest, name)
    trained = manifest.with_splits(np.where(manifest.splits == UNASSIGNED, TRAIN, manifest.splits))
    fingerprint = take_fingerprint(trained)

    def configure(recipe: str) -> RunConfig:
        return parse_config(overlay(read_recipe(recipe), settings), where=f"recipe {recipe} and the settings")

    asked = parse_config(settings)
    plan = choose_recipe(Plan(asked=asked, config=asked), fingerprint, configure)
    plan = plan_image(plan_backbone(plan), fingerprint)
    image = resolve_image(plan.config.image)
    spec = image_spec(plan.config)
    sample = trained.take(sample_rows(trained.rows(TRAIN), most=_TRACE_SAMPLE))
    with tempfile.TemporaryDirectory(prefix="linnaeus-trace-") as folder:
        cache = open_cache(sample, spec, folder=Path(folder))
        rows = np.flatnonzero(cache.readable)
        plan = plan_training(plan, fingerprint, grey=is_grey(cache.pixels, rows))
        plan = plan_folds(plan, trained)
        if image.normalize == "dataset":
            mean, std = channel_statistics(cache.pixels, rows)
            spec = spec_from_config(image, mean=mean, std=std)
    found = trace_image(manifest, row, config=plan.resolved, spec=spec, labels=labels_of(manifest, row))
    return view_of(found)


def _row_of(manifest: Manifest, name: str) -> int:
    """The row of an image by its id, or by the path of its file; raises DataNotFoundError with the nearest id."""
    ids: list[str] = manifest.ids.to_pylist()
    uris: list[str] = manifest.uris.to_pylist()
    if name in ids:
        return ids.index(name)
    path = str(Path(name).expanduser().resolve())
    if path in uris:
        return uris.index(path)
    hint = nearest_name(name, ids[:2000])
    raise DataNotFoundError(f"There is no image {name} in the data. Names look like '{ids[0]}'.{hint}")
