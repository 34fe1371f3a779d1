"""The model card: what a stranger who finds a model folder should know, as one page of Markdown.

Written from the facts in bundle.json and nothing else. Of the provenance it shows, where they are given:

    created             date and time, ISO 8601
    source              the data, as the user named it
    seed                of the run
    config_fingerprint, manifest_fingerprint
    num_images          {"train": 1257, "validation": 270, "test": 270}
    class_counts        training images per class, {NAME: count}
    scores              the value of "test" in evaluation.json: {"accuracy": {"value", "low", "high"}, "num_images"}
    weights_origins     where packaged pretrained weights come from and their licence, ["tf_efficientnet_lite0: ..."]
    confidence          level of the intervals, such as 0.95

Knows nothing of files, networks or tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SCORES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy (macro recall)",
    "macro_precision": "Macro precision",
    "macro_f1": "Macro F1",
}
_SCORES_OF_SEVERAL = {
    "micro_f1": "Micro F1",
    "macro_f1": "Macro F1",
    "mean_average_precision": "Mean average precision",
    "hamming_accuracy": "Hamming accuracy",
    "subset_accuracy": "Subset accuracy",
}
_RESIZE = {
    "squash": "the whole image is scaled to that size, without keeping its aspect ratio",
    "crop": "the image is scaled with its aspect ratio and the centre square is cut out",
    "pad": "the whole image is scaled with its aspect ratio and placed on a grey square",
    "letterbox": "the whole image is placed on a grey square, scaled down with its aspect ratio if it is larger",
}
_TTA = {
    "none": "Each image is seen once.",
    "flip": "The logits of the image and of its horizontal flip are averaged.",
    "flip_shift": "The logits of the image, its horizontal flip, and both shifted by a pixel each way are averaged.",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """Markdown of README.md for the facts in bundle.json."""
    provenance = facts["provenance"]
    sections = [
        _FRONT_MATTER,
        _heading(facts),
        _scores(provenance),
        _use(),
        _classes(facts, provenance),
        _image(facts),
        _limits(facts),
        _origin(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_FRONT_MATTER = """---
library_name: linnaeus
pipeline_tag: image-classification
---"""


def _heading(facts: Mapping[str, Any]) -> str:
    classes, size = facts["classes"], facts["image_spec"]["height"]
    shown = ", ".join(_cell(name) for name in classes[:5]) + (", ..." if len(classes) > 5 else "")
    if facts["thresholds"] is None:
        what = f"says which of {len(classes)} classes it shows ({shown})"
    else:
        what = f"says which of {len(classes)} labels it has ({shown}): none, one or several"
    return (
        f"# An image classifier for {len(classes)} {'classes' if facts['thresholds'] is None else 'labels'}\n\n"
        f"It looks at an image and {what}. The network is "
        f"`{facts['model']['name']}` with {facts['num_parameters']:,} parameters at {size}x{size} pixels, trained with "
        f"Linnaeus {facts['linnaeus']}."
    )


def _scores(provenance: Mapping[str, Any]) -> str:
    scores = provenance.get("scores")
    if not scores:
        return ""
    confidence = provenance.get("confidence")
    interval = "Interval" if confidence is None else f"{confidence:.0%} interval"
    rows = [f"| Score | Value | {interval} |", "| --- | --- | --- |"]
    for key, title in (_SCORES_OF_SEVERAL if "micro_f1" in scores else _SCORES).items():
        if key in scores:
            score = scores[key]
            rows.append(f"| {title} | {score['value']:.1%} | {score['low']:.1%} to {score['high']:.1%} |")
    on = f" on {scores['num_images']:,} test images" if "num_images" in scores else " on the test images"
    return f"## Scores{on}\n\nThe test images took no part in training or in any choice.\n\n" + "\n".join(rows)


def _use() -> str:
    return """## Use

    linnaeus predict THIS_FOLDER photos/ --out labels.csv

or in Python, where `THIS_FOLDER` is the folder of this page:

```python
import linnaeus

model = linnaeus.load("THIS_FOLDER")
table = model.predict(["photo.jpg"], top_k=3)
print(table.to_string())
```

Loading runs no code from this folder. `sha256sum -c SHA256SUMS` checks that it arrived whole; loading does so too."""


def _classes(facts: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    classes, counts = facts["classes"], provenance.get("class_counts")
    if facts["thresholds"] is not None:
        return _labels(facts, counts or {})
    if not counts:
        return "## Classes\n\n" + "\n".join(f"- {_cell(name)}" for name in classes)
    rows = ["| Class | Training images |", "| --- | --- |"]
    rows += [f"| {_cell(name)} | {counts.get(name, 0):,} |" for name in classes]
    return "## Classes\n\n" + "\n".join(rows)


def _labels(facts: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    rows = ["| Label | Given from a probability of | Training images |", "| --- | --- | --- |"]
    rows += [
        f"| {_cell(name)} | {threshold:.3g} | {f'{counts[name]:,}' if name in counts else ''} |"
        for name, threshold in zip(facts["classes"], facts["thresholds"], strict=True)
    ]
    return (
        "## Labels\n\nAn image is given every label whose probability is no less than its threshold. The thresholds "
        "were chosen on images that the network had not seen; none of them are test images.\n\n" + "\n".join(rows)
    )


def _image(facts: Mapping[str, Any]) -> str:
    spec = facts["image_spec"]
    mean, std = (", ".join(f"{value:.4f}" for value in spec[key]) for key in ("mean", "std"))
    return (
        "## Preprocessing\n\n"
        f"The EXIF orientation is applied, transparent images are placed on white, and {_RESIZE[spec['resize']]}: "
        f"{spec['width']}x{spec['height']} pixels, {spec['interpolation']}, antialiased. Values in 0-1 are then "
        f"normalized by the mean ({mean}) and standard deviation ({std}) of each channel. {_TTA[facts['tta']]}"
    )


def _temperature(value: float | Sequence[float]) -> str:
    return f"temperature {value:.3f}" if isinstance(value, float) else "a temperature for each label"


def _limits(facts: Mapping[str, Any]) -> str:
    temperature = facts["temperature"]
    several = facts["thresholds"] is not None
    calibrated = (
        f"Probabilities are a plain {'sigmoid' if several else 'softmax'} and have not been calibrated; networks tend "
        "to be overconfident."
        if temperature == 1.0
        else f"Probabilities are calibrated with {_temperature(temperature)}, for images like those it was tested on."
    )
    answers = (
        "It predicts only its own labels; an image without a label may also show something unknown to it."
        if several
        else "It predicts one of its classes for every image, also for images that show none of them."
    )
    return (
        "## Limits\n\n"
        f"- {answers}\n"
        "- Scores hold for images like those it was tested on. Other cameras, places and times can lower them: test it "
        "on images of your own.\n"
        f"- {calibrated}\n"
        f"- It sees {facts['image_spec']['width']}x{facts['image_spec']['height']} pixels; finer detail is lost."
    )


def _origin(facts: Mapping[str, Any]) -> str:
    provenance = facts["provenance"]
    rows = [f"- Format of this folder: {facts['format']}, written by Linnaeus {facts['linnaeus']}"]
    if "source" in provenance:
        rows.append(f"- Data: {_cell(str(provenance['source']))}")
    if "num_images" in provenance:
        rows.append("- Images: " + ", ".join(f"{n:,} {split}" for split, n in provenance["num_images"].items()))
    for key, title in (
        ("created", "Date"),
        ("seed", "Seed"),
        ("config_fingerprint", "Configuration"),
        ("manifest_fingerprint", "Manifest"),
    ):
        if key in provenance:
            rows.append(f"- {title}: {provenance[key]}")
    rows += [f"- Pretrained weights: {_cell(origin)}" for origin in provenance.get("weights_origins", ())]
    return "## Origin\n\n" + "\n".join(rows)


def _cell(text: str) -> str:
    """Any text as literal text of one table cell or list item."""
    flat = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in flat)
