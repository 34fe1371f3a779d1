"""`linnaeus inspect`: what it prints and writes, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linnaeus.analysis.audit_types import Audit
from linnaeus.cli.main import main
from linnaeus.data.manifest import Manifest


@pytest.fixture(scope="module")
def audited(troubled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an audit with a trace, and what was printed."""
    folder = tmp_path_factory.mktemp("audit")
    patch = pytest.MonkeyPatch()
    lines: list[str] = []
    patch.setattr("linnaeus.cli.bars.Bars.say", lambda self, message: lines.append(message))
    try:
        arguments = ["--out", str(folder / "out"), "--save", str(folder / "data.parquet")]
        assert main(["inspect", str(troubled), *arguments, "--trace", "train/cat/00.png"]) == 0
    finally:
        patch.undo()
    return folder, "\n".join(lines)


def test_the_summary_names_what_matters(audited: tuple[Path, str]) -> None:
    words = audited[1]
    for expected in (
        "90 images of 2 classes (55 train, 13 validation, 22 test)",
        "!! Leaks into the test set: 2 test images (9.1%)",
        "!! Unreadable: 3 images (",
        " ! Wrong extensions: 1 file",
        "  decoded     72 x 96 x 3        uint8",
        "  normalised  1 x 3 x",
    ):
        assert expected in words


def test_the_json_is_the_documented_one(audited: tuple[Path, str]) -> None:
    found = json.loads((audited[0] / "out" / "audit.json").read_text(encoding="utf-8"))
    assert list(found) == list(Audit.model_fields)
    assert found["format"] == 1
    assert found["leaks"]["test"]["num_images"] == 2


def test_the_page_shows_every_section_and_loads_nothing(audited: tuple[Path, str]) -> None:
    page = (audited[0] / "out" / "audit.html").read_text(encoding="utf-8")
    for section in ("data", "shapes", "files", "duplicates", "looks", "shortcuts", "trace"):
        assert f'<section id="{section}"' in page
    assert '<span class="tag">train and test</span>' in page
    assert '<span class="tag">different labels</span>' in page
    assert "png-called.jpg" in page
    assert page.count('alt="augmented, ') == 12
    assert page.count("url(") == page.count('url("data:image/') > 4
    assert page.rindex("url(") < page.index("</style>")
    assert page.rstrip().endswith("</html>")
    for outside in ('src="http', 'href="http', "@import"):
        assert outside not in page


def test_the_saved_manifest_is_the_data(audited: tuple[Path, str]) -> None:
    manifest = Manifest.load(audited[0] / "data.parquet")
    assert (len(manifest), manifest.classes) == (90, ("cat", "dog"))


@pytest.mark.parametrize("place", [".", "audit", "train/cat"])
def test_the_audit_is_never_written_into_the_data(
    troubled: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(troubled), "--out", str(troubled / place)]) == 2
    assert "is never written to" in capsys.readouterr().err
    assert not (troubled / "audit").exists()


def test_nothing_is_saved_into_the_data(troubled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = troubled / "data.parquet"
    assert main(["inspect", str(troubled), "--out", str(tmp_path / "audit"), "--save", str(target)]) == 2
    assert "Name another with --save" in capsys.readouterr().err
    assert not target.exists()


def test_an_unknown_image_to_trace_is_said_with_the_nearest(
    troubled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(troubled), "--out", str(tmp_path), "--trace", "train/cat/0.png"]) == 2
    error = capsys.readouterr().err
    assert "There is no image train/cat/0.png in the data" in error
    assert "Did you mean 'train/cat/" in error


def test_names_from_the_data_cannot_become_markup() -> None:
    from linnaeus.report.audit_page import AuditFacts, render_audit_page

    hostile = "<script>alert(1)</script>"
    item = {"row": 0, "id": hostile}
    values = {
        "source": hostile,
        "num_images": 2,
        "num_scenes": None,
        "splits": {"unassigned": 2},
        "classes": [hostile, "b"],
        "task": "single",
        "counts": {"unassigned": {hostile: 1, "b": 1}},
        "imbalance": {
            "ratio": 1.0,
            "largest": {"class": hostile, "num_images": 1},
            "smallest": {"class": "b", "num_images": 1},
        },
        "cooccurrence": None,
        "skipped": {},
        "notes": [hostile],
        "sizes": {"width": None, "height": None, "num_different": 0, "common": []},
        "aspect_ratio": None,
        "file_bytes": None,
        "modes": {},
        "formats": {},
        "unreadable": [{**item, "kind": "empty", "reason": "the file is empty"}],
        "wrong_extension": [],
        "very_large": [],
        "blank": [{**item, "brightness": 3.0}],
        "very_dark": [],
        "very_blurred": [],
        "duplicates": [],
        "leaks": {
            "num_groups": 0,
            "test": {"num_images": 0, "fraction": 0.0},
            "validation": {"num_images": 0, "fraction": 0.0},
            "test_rows": [],
        },
        "shortcuts": [
            {"property": "width", "label": hostile, "accuracy": 1.0, "baseline": 0.5, "error_reduction": 1.0}
        ],
        "findings": [{"level": "look", "what": "Blank", "sentence": hostile, "section": "looks"}],
    }

    def nothing(row: int) -> bytes:
        from linnaeus.errors import UnreadableImageError

        raise UnreadableImageError("gone")

    page = render_audit_page(AuditFacts(hostile, Audit.model_validate(values), nothing))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
