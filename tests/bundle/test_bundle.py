"""A bundle comes back exactly, and a damaged one never comes back at all."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from linnaeus.bundle import Bundle
from linnaeus.bundle import files as bundle_files
from linnaeus.bundle.files import bundle_folder, load_bundle, save_bundle
from linnaeus.data.image_spec import ImageSpec
from linnaeus.errors import BundleError, DeviceError, OutputError
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.metrics.ood import OodDetector
from linnaeus.models import build_classifier

CLASSES = ("cat", "dög | \u2603", "tram")
FILES = ("model.safetensors", "bundle.json", "README.md", "SHA256SUMS")
PROVENANCE = {
    "created": "2025-01-02T03:04:05+00:00",
    "seed": 7,
    "class_counts": {"cat": 10, CLASSES[1]: 20, "tram": 1234},
    "scores": {"accuracy": {"value": 0.905, "low": 0.871, "high": 0.932}, "num_images": 1797},
    "confidence": 0.95,
}


def make_bundle(*, seed: int = 0, name: str = "speed_cnn", options: dict | None = None, size: int = 16) -> Bundle:
    torch.manual_seed(seed)
    options = {"widths": [8, 8, 8]} if options is None else options
    classifier = build_classifier(name, num_classes=len(CLASSES), image_size=size, options=options)
    with torch.no_grad():  # statistics that differ from those of a new network
        classifier.train()(torch.randn(8, 3, size, size))
    spec = ImageSpec(size, size, "pad", "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 1 / 3))
    return Bundle(classifier.eval(), spec, CLASSES, "flip", temperature=1.7, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "model"
    save_bundle(make_bundle(), path)
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def reseal(path: Path) -> None:
    """Make the checksums right again, as someone would who changed a file on purpose."""
    lines = [f"{bundle_files._sha256(path / name)}  {name}\n" for name in FILES if name != "SHA256SUMS"]
    (path / "SHA256SUMS").write_text("".join(lines))


def change_facts(path: Path, **changes: object) -> None:
    facts = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    (path / "bundle.json").write_text(json.dumps(facts | changes), encoding="utf-8")
    reseal(path)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "options"), [("speed_cnn", {"widths": [8, 8, 8]}), ("mish_cnn", {})])
def test_a_loaded_bundle_gives_the_same_logits_bit_for_bit(
    tmp_path: Path, name: str, options: dict, memory_format: torch.memory_format
) -> None:
    original = make_bundle(name=name, options=options)
    original.classifier.to(memory_format=memory_format)
    save_bundle(original, tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    assert not loaded.classifier.training
    for key, tensor in original.classifier.state_dict().items():
        assert torch.equal(loaded.classifier.state_dict()[key], tensor), key
    images = torch.randn(5, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(loaded.classifier(images), original.classifier(images))


def test_everything_else_comes_back_equal(saved: Path) -> None:
    original, loaded = make_bundle(), load_bundle(saved)
    assert (loaded.classes, loaded.image_spec, loaded.tta) == (CLASSES, original.image_spec, "flip")
    assert (loaded.temperature, loaded.thresholds, loaded.provenance) == (1.7, None, PROVENANCE)
    assert (loaded.classifier.name, loaded.classifier.options) == ("speed_cnn", {"widths": [8, 8, 8]})


def test_thresholds_come_back(tmp_path: Path) -> None:
    original = make_bundle()
    save_bundle(Bundle(original.classifier, original.image_spec, CLASSES, "none", 1.0, (0.1, 0.5, 0.7)), tmp_path / "m")
    assert load_bundle(tmp_path / "m").thresholds == (0.1, 0.5, 0.7)


def test_weights_are_float32_whatever_they_were(tmp_path: Path) -> None:
    original = make_bundle()
    original.classifier.to(torch.bfloat16)
    save_bundle(original, tmp_path / "model")
    tensors = load_file(tmp_path / "model/model.safetensors")
    assert {t.dtype for name, t in tensors.items() if not name.endswith("num_batches_tracked")} == {torch.float32}


def test_loading_leaves_the_random_numbers_of_the_caller_alone(saved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_bundle(saved)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_any_file_is_noticed(saved: Path, name: str, fraction: float, bit: int) -> None:
    file = saved / name
    content = file.read_bytes()
    position = min(int(fraction * len(content)), len(content) - 1)
    try:
        file.write_bytes(content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :])
        with pytest.raises(BundleError, match=r"model\.safetensors|bundle\.json|README\.md|SHA256SUMS"):
            load_bundle(saved)
    finally:
        file.write_bytes(content)
    load_bundle(saved)


def test_every_single_bit_of_the_list_of_checksums_counts(copy: Path) -> None:
    content = (copy / "SHA256SUMS").read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            flipped = content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]
            (copy / "SHA256SUMS").write_bytes(flipped)
            with pytest.raises(BundleError):
                bundle_files._verify(copy)
    (copy / "SHA256SUMS").write_bytes(content)
    bundle_files._verify(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_shortened_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)
    (copy / name).write_bytes(b"")
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}.*[Cc]opy the model folder again"):
        load_bundle(copy)


def test_extra_files_are_ignored(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "__init__.py").write_text("raise RuntimeError('code of a bundle was run')")
    assert load_bundle(copy).classes == CLASSES


def test_a_newer_format_asks_for_an_update(copy: Path) -> None:
    change_facts(copy, format=99, linnaeus="9.9", something={"new": 1}, classes=None)
    with pytest.raises(BundleError, match=r"format 99, written by Linnaeus 9\.9.*Update"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["cat", "tram"]}, "does not fit the network"),
        ({"model": {"name": "speed_cnn", "options": {"widths": [8, 8, 16]}}}, "does not fit the network"),
        ({"model": {"name": "sped_cnn", "options": {}}}, "cannot build: .*sped_cnn"),
        ({"model": {"name": "speed_cnn", "options": {"depth": 3}}}, "no option 'depth'"),
        ({"classes": ["cat", "cat", "tram"]}, "must be there and differ"),
        ({"classes": "abc"}, r"bundle\.json does not describe a model: classes"),
        ({"temperature": 0}, "temperature"),
        ({"tta": "many"}, "tta"),
        ({"thresholds": [0.5]}, "one threshold per class"),
        ({"image_spec": {"height": 16, "width": 16, "resize": "melt"}}, r"image_spec\.resize"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(copy: Path, changes: dict, message: str) -> None:
    change_facts(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_json_that_is_none_is_refused(copy: Path) -> None:
    (copy / "bundle.json").write_bytes(b"\xff{")
    reseal(copy)
    with pytest.raises(BundleError, match=r"bundle\.json does not describe a model"):
        load_bundle(copy)


def test_weights_that_do_not_fit_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["head.weight"]
    save_file(weights, copy / "model.safetensors")
    reseal(copy)
    with pytest.raises(BundleError, match=r"model\.safetensors does not fit.*head\.weight"):
        load_bundle(copy)
    (copy / "model.safetensors").write_bytes(b"not tensors at all")
    reseal(copy)
    with pytest.raises(BundleError, match=r"model\.safetensors cannot be read"):
        load_bundle(copy)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "cache_dir"])
def test_a_bundle_cannot_make_the_loader_read_other_files(copy: Path, option: str) -> None:
    change_facts(copy, model={"name": "resnet18", "options": {option: "/etc/passwd"}})
    with pytest.raises(BundleError, match=f"'{option}', which would read files from elsewhere"):
        load_bundle(copy)


def test_a_checksum_list_cannot_point_outside_the_folder(copy: Path) -> None:
    with (copy / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  ../secret\n")
    with pytest.raises(BundleError, match="SHA256SUMS is damaged"):
        load_bundle(copy)


def test_an_unknown_device_is_a_plain_error(saved: Path) -> None:
    with pytest.raises(DeviceError, match="abacus"):
        load_bundle(saved, device="abacus")


def test_saving_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_bundle(make_bundle(seed=0), path)
    save_bundle(make_bundle(seed=1), path)
    expected = make_bundle(seed=1).classifier.state_dict()["head.weight"]
    assert torch.equal(load_bundle(path).classifier.state_dict()["head.weight"], expected)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model"]

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BundleError, match="no model folder"):
        save_bundle(make_bundle(), tmp_path / "photos")
    assert (tmp_path / "photos/holiday.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("failing", ["save_file", "write_text"])
def test_a_save_that_fails_leaves_the_old_bundle_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "model"
    save_bundle(make_bundle(seed=0), path)
    before = {name: (path / name).read_bytes() for name in FILES}

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_files, failing, full_disk)
    with pytest.raises(OutputError, match="the disk is full"):
        save_bundle(make_bundle(seed=1), path)
    assert {name: (path / name).read_bytes() for name in FILES} == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model"]


_SAVE = """
import sys, time
from pathlib import Path
import torch
from linnaeus.bundle.files import load_bundle, save_bundle
place, name = Path(sys.argv[1]), sys.argv[2]
bundle = load_bundle(place / name)
(place / f"{name} is ready").touch()
while len(list(place.glob("* is ready"))) < 2:
    time.sleep(0.001)
for _ in range(10):
    save_bundle(bundle, place / "out" / "model")
"""


def test_two_processes_that_save_at_the_same_place_take_turns(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save_bundle(make_bundle(seed=seed), tmp_path / name)
    processes = [
        subprocess.Popen([sys.executable, "-c", _SAVE, str(tmp_path), name], stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    answers = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    weights = load_bundle(tmp_path / "out" / "model").classifier.state_dict()["head.weight"]
    of_each = [load_bundle(tmp_path / name).classifier.state_dict()["head.weight"] for name in "ab"]
    assert any(torch.equal(weights, one) for one in of_each)
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["model"]


def test_leftovers_of_a_killed_save_do_no_harm(tmp_path: Path) -> None:
    for name in (".model.00ff.part", ".model.00ff.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "junk").write_bytes(b"half")
    save_bundle(make_bundle(), tmp_path / "model")
    load_bundle(tmp_path / "model")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model"]


def test_others_may_read_the_files_as_far_as_the_umask_allows(saved: Path) -> None:
    modes = {stat.S_IMODE((saved / name).stat().st_mode) for name in FILES}
    assert len(modes) == 1, modes


def test_the_bundle_of_a_run_is_found_and_a_missing_one_explained(saved: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved, run / "model")
    assert bundle_folder(run) == run / "model"
    assert bundle_folder(run / "model") == run / "model"
    with pytest.raises(BundleError, match=r"no folder .*nowhere"):
        bundle_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"no model in .*empty"):
        bundle_folder(tmp_path / "empty")
    (tmp_path / "empty/config.yaml").write_text("")
    with pytest.raises(BundleError, match=r"has no model yet.*linnaeus resume"):
        bundle_folder(tmp_path / "empty")
    with pytest.raises(BundleError, match="no model folder"):
        load_bundle(tmp_path / "nowhere")


def test_the_card_says_what_the_model_is_and_how_good(saved: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    for expected in (
        "An image classifier for 3 classes",
        "| Accuracy | 90.5% | 87.1% to 93.2% |",
        "on 1,797 test images",
        "95% interval",
        "| tram | 1,234 |",
        "dög \\| \u2603",
        "16x16 pixels, bicubic",
        "temperature 1.700",
        "Seed: 7",
    ):
        assert expected in card, expected


def test_the_card_of_a_bundle_without_provenance_makes_nothing_up(tmp_path: Path) -> None:
    original = make_bundle()
    save_bundle(Bundle(original.classifier, original.image_spec, CLASSES, "none"), tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    assert "Scores" not in card.replace("Scores hold", "")
    assert "Training images" not in card
    assert "have not been calibrated" in card


def test_the_python_of_the_card_runs(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1].replace("THIS_FOLDER", str(saved)), "card", "exec"), {})
    assert "no such file" in capsys.readouterr().out


@pytest.mark.parametrize("old", [1, 2])
def test_a_bundle_of_an_earlier_format_is_refused_with_what_to_do(copy: Path, old: int) -> None:
    change_facts(copy, format=old)
    with pytest.raises(BundleError, match=rf"format {old}, from before the first release.*linnaeus train DATA"):
        load_bundle(copy)


@pytest.mark.parametrize("rule", [SetRule(0.9, 0.7, 0.1, 2), LabelSetRule(0.9, 0.25)])
def test_the_ood_detector_and_the_rule_of_sets_come_back_and_are_covered_by_the_checksums(
    tmp_path: Path, rule: SetRule | LabelSetRule
) -> None:
    reference, centre = np.eye(4, dtype=np.float16), np.full(4, 0.1, np.float32)
    known = OodDetector(reference, centre, 0.5, 0.99)
    save_bundle(replace(make_bundle(), ood=known, sets=rule), tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    assert loaded.sets == rule and loaded.ood is not None
    assert (loaded.ood.reference == reference).all() and loaded.ood.threshold == 0.5
    content = bytearray((tmp_path / "model" / "ood.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model" / "ood.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"ood\.safetensors does not match its checksum"):
        load_bundle(tmp_path / "model")
