"""`linnaeus ensemble`: runs that answer together, what the folder holds, and what is refused."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linnaeus.bundle.files import load_bundle
from linnaeus.cli.main import main
from linnaeus.data.manifest import TEST, VALIDATION
from linnaeus.deployment.predictor import Predictor
from linnaeus.errors import ModelError, RunError
from linnaeus.judging.conformal import calibrate_sets
from linnaeus.metrics.conformal import prediction_sets
from linnaeus.predictions import Predictions
from linnaeus.run.finished import Run
from linnaeus.run.fit import fit
from linnaeus.runs.soup import average_weights


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: `a` and `b` share everything but the learning rate, `wide` sees larger images, `other` other ones."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(folder / "cache"))
        for name, size, lr, seed in [
            ("a", 16, 0.12, 0),
            ("b", 16, 0.2, 0),
            ("wide", 20, 0.12, 0),
            ("other", 16, 0.1, 1),
        ]:
            settings = {
                "data": {"source": "digits"},
                "image": {"size": size},
                "model": {"options": {"widths": [8, 16, 16]}},
                "phases": [{"lr": lr}],
                "runtime": {"threads": 1, "precision": "32"},
                "seed": seed,
            }
            fit(settings, recipe="best-scratch-small", epochs=1, out=folder / name)
    return folder


@pytest.fixture(autouse=True)
def cache(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(runs / "cache"))
    monkeypatch.chdir(tmp_path)


def ensemble(runs: Path, *names: str, options: tuple[str, ...] = ()) -> int:
    return main(["ensemble", *(str(runs / name) for name in names), "--out", "both", *options])


def weighted(runs: Path, weights: dict[str, float]) -> np.ndarray:
    parts = [
        share * Predictions.load(Path(path) / "predictions.parquet").probabilities for path, share in weights.items()
    ]
    return np.sum(parts, axis=0)


def test_the_folder_holds_the_mean_of_probabilities_its_scores_and_a_model(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found = json.loads(Path("both/evaluation.json").read_text())
    weights = found["ensemble"]["weights"]
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weights.values()), "two networks of one epoch help each other"
    predictions = Predictions.load(Path("both/predictions.parquet"))
    np.testing.assert_allclose(predictions.probabilities, weighted(runs, weights), atol=1e-6)
    test = predictions.of_split(TEST)
    assert found["test"]["accuracy"]["value"] == pytest.approx((test.predicted == test.targets).mean())
    single = {path: Run(Path(path)).evaluation for path in weights}
    assert found["ensemble"]["best_single_run"] == max(
        single, key=lambda path: single[path]["validation"]["accuracy"]["value"]
    )
    gain = (
        found["test"]["accuracy"]["value"] - single[found["ensemble"]["best_single_run"]]["test"]["accuracy"]["value"]
    )
    assert found["ensemble"]["ensemble_minus_best"]["value"] == pytest.approx(gain)
    assert ("is really better" in capsys.readouterr().out) == (found["ensemble"]["beyond_noise"] and gain > 0)


def test_an_ensemble_has_prediction_sets_of_its_mean_and_is_evaluated_like_a_run(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found, rule = json.loads(Path("both/evaluation.json").read_text()), load_bundle(Path("both/model")).sets
    predictions = Predictions.load(Path("both/predictions.parquet"))
    held_out, test = predictions.of_split(VALIDATION), predictions.of_split(TEST)
    assert rule == calibrate_sets(held_out.probabilities, held_out.targets.astype(np.int64), coverage=0.95, seed=0)
    held = prediction_sets(test.probabilities, rule)[np.arange(len(test)), test.targets.astype(np.int64)]
    assert found["prediction_sets"]["coverage"]["value"] == held.mean()
    assert main(["evaluate", "both"]) == 0
    again = json.loads(Path("both/evaluation/evaluation.json").read_text())
    assert again["prediction_sets"] == found["prediction_sets"] and again["test"] == found["test"]
    page = Path("both/evaluation/evaluation.html").read_text(encoding="utf-8")
    assert "Prediction sets promise" in page and "chart-roc" in page and "no prediction sets" not in page


def test_the_report_shows_every_run_its_weight_and_the_paired_test(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found = json.loads(Path("both/evaluation.json").read_text())
    page = Path("both/report.html").read_text(encoding="utf-8")
    for path, share in found["ensemble"]["weights"].items():
        own = Run(Path(path)).evaluation["test"]["accuracy"]
        assert found["ensemble"]["members"][path]["accuracy"] == own
        assert f"<bdi>{path}</bdi></th><td>{100 * share:.0f} %</td>" in page
        assert f"<span>{100 * own['value']:.1f}</span>" in page
    assert found["ensemble"]["verdict"] in html.unescape(page)
    assert "2 runs together" in page and "No epoch was finished" not in page and "a recipe that repeats" not in page
    assert Path("both/figures/confusion.svg").is_file()


def test_an_ensemble_is_compared_like_a_run_and_other_commands_ask_for_a_member(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble(runs, "a", "wide") == 0
    assert main(["compare", "both", str(runs / "a")]) == 0
    for command in (["review", "both", "--no-open"], ["resume", "both"]):
        assert main(command) == 2
        assert "Name one of them: both/plan.md lists them" in capsys.readouterr().err


def test_prediction_asks_each_member_with_its_own_image_size_and_views(runs: Path, tmp_path: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    bundle = load_bundle(Path("both/model"))
    assert sorted(member.image_spec.height for member in bundle.members) == [16, 20]
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 255, (30, 24, 3), np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [tmp_path / "0.png", tmp_path / "broken.png", tmp_path / "1.png", tmp_path / "2.png"]
    weights = json.loads(Path("both/evaluation.json").read_text())["ensemble"]["weights"]
    table = Predictor(bundle, precision="32").predict(files, top_k=10)
    assert list(table["error"] != "") == [False, True, False, False]
    singles = {path: Predictor(load_bundle(Path(path) / "model"), precision="32") for path in weights}
    for row in (0, 2, 3):
        expected: dict[str, float] = dict.fromkeys(bundle.classes, 0.0)
        for path, share in weights.items():
            own = singles[path].predict([files[row]], top_k=10).iloc[0]
            for rank in range(1, 11):
                suffix = "" if rank == 1 else f"_{rank}"
                expected[own[f"label{suffix}"]] += share * own[f"probability{suffix}"]
        assert table["label"][row] == max(expected, key=expected.__getitem__)
        assert table["probability"][row] == pytest.approx(max(expected.values()), abs=1e-6)
    with pytest.raises(ModelError, match="different sizes"):
        bundle.classifier(torch.zeros(1, 3, 16, 16))
    assert main(["predict", "both", str(files[0])]) == 0


def test_members_of_one_image_size_are_one_network(runs: Path) -> None:
    assert ensemble(runs, "a", "b") == 0
    bundle = load_bundle(Path("both/model"))
    assert bundle.members
    images = torch.rand(4, 3, 16, 16)
    expected = torch.zeros(4, 10)
    for member in bundle.members:
        spec = member.image_spec
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        share = member.weight / sum(other.weight for other in bundle.members)
        logits = member.classifier((images - mean) / std) / torch.tensor(member.temperature)
        expected += share * logits.softmax(1)
    with torch.no_grad():
        assert torch.allclose(bundle.classifier(images).softmax(1), expected, atol=1e-5)
        features = bundle.classifier.features(images)
    assert features.shape == (4, bundle.classifier.num_features)


def test_a_soup_is_one_network_of_averaged_weights_tried_on_validation(runs: Path) -> None:
    assert ensemble(runs, "a", "b", options=("--soup",)) == 0
    found = json.loads(Path("both/evaluation.json").read_text())
    bundle = load_bundle(Path("both/model"))
    assert not bundle.members and bundle.classifier.name == "speed_cnn"
    best = found["ensemble"]["best_single_run"]
    alone = Run(Path(best)).evaluation["validation"]["accuracy"]["value"]
    assert found["validation"]["accuracy"]["value"] >= alone - 1e-9, "a soup never falls below its best ingredient"
    validation = Predictions.load(Path("both/predictions.parquet")).of_split(VALIDATION)
    assert len(validation) == found["validation"]["num_images"]


def test_an_ensemble_says_that_its_configurations_are_those_of_its_members(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    run = Run(Path("both"))
    taken = [path for path, share in run.evaluation["ensemble"]["weights"].items() if share]
    with pytest.raises(RunError, match="is an ensemble") as raised:
        _ = run.config
    assert all(path in str(raised.value) for path in taken)


def test_averaged_weights_are_their_mean_and_counters_stay() -> None:
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(5)},
    ]
    found = average_weights(states)
    assert found["w"].tolist() == [2.0, 4.0] and found["w"].dtype == torch.float32
    assert found["n"] == 3


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("a",), (), "two runs at least"),
        (("a", "a"), (), "named twice"),
        (("a", "other"), (), "not of the same images"),
        (("a", "nowhere"), (), "no run in"),
        (("a", "wide"), ("--soup",), "image preprocessing differs"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_words_and_leaves_nothing(
    runs: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    assert ensemble(runs, *names, options=options) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert not Path("both").exists()


def test_runs_that_began_with_different_weights_make_no_soup(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = runs / "b" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("\nseed: 0", "\nseed: 5"))
    try:
        assert ensemble(runs, "a", "b", options=("--soup",)) == 2
    finally:
        config.write_text(text)
    assert "random weights of seed 0 and random weights of seed 5" in capsys.readouterr().err
