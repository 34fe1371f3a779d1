"""`linnaeus ensemble`: runs that answer together, what the folder holds, and what is refused."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linnaeus.bundle.files import load_bundle
from linnaeus.cli.main import main
from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import TEST, VALIDATION
from linnaeus.data.sources import read_source
from linnaeus.deployment.predictor import Predictor
from linnaeus.errors import ModelError, RunError
from linnaeus.judging.calibration import fit_temperature
from linnaeus.judging.conformal import calibrate_sets
from linnaeus.judging.evaluation import Evaluation, Scores, read_evaluation
from linnaeus.judging.operating_point import choose_point
from linnaeus.predictions import Predictions, rows_of
from linnaeus.run.finished import Run
from linnaeus.run.fit import fit
from linnaeus.runs.average_weights import average_weights


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
        fraction * Predictions.load(Path(path) / "predictions.parquet").probabilities
        for path, fraction in weights.items()
    ]
    return np.sum(parts, axis=0)


def evaluation_of(folder: str | Path) -> Evaluation:
    return read_evaluation(Path(folder) / "evaluation.json")


def raw(predictions: Predictions) -> Predictions:
    """The same logits as the networks gave them."""
    return replace(predictions, temperature=1.0, operating_point=None)


def test_the_folder_holds_the_mean_of_probabilities_its_scores_and_a_model(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found = evaluation_of("both").ensemble
    assert found is not None and sum(found.weights.values()) == pytest.approx(1)
    assert all(found.weights.values()), "two networks of one epoch help each other"
    predictions = Predictions.load(Path("both/predictions.parquet"))
    np.testing.assert_allclose(raw(predictions).probabilities, weighted(runs, found.weights), atol=1e-6)
    test, scores = predictions.of_split(TEST), evaluation_of("both").test
    assert scores.accuracy is not None
    assert scores.accuracy.value == pytest.approx((test.predicted == test.targets).mean())
    single = {path: evaluation_of(path) for path in found.weights}
    assert found.best_single_run == max(single, key=lambda path: accuracy(single[path].validation))
    gain = scores.accuracy.value - accuracy(single[found.best_single_run].test)
    difference = found.ensemble_minus_best
    assert difference.value == pytest.approx(gain)
    assert ("significantly better" in capsys.readouterr().out) == (difference.significant and gain > 0)


def accuracy(scores: Scores | None) -> float:
    assert scores is not None and scores.accuracy is not None
    return scores.accuracy.value


@pytest.mark.parametrize("options", [(), ("--average-weights",)])
def test_what_is_settled_is_settled_by_what_ships(runs: Path, options: tuple[str, ...]) -> None:
    """Temperature and prediction sets come from the validation predictions of the model in the folder."""
    assert ensemble(runs, "a", "b", options=options) == 0
    bundle, predictions = load_bundle(Path("both/model")), Predictions.load(Path("both/predictions.parquet"))
    held_out = predictions.of_split(VALIDATION)
    assert bundle.temperature == predictions.temperature == fit_temperature(raw(held_out)) != 1.0
    assert bundle.sets == calibrate_sets(
        held_out.probabilities, held_out.targets.astype(np.int64), coverage=0.95, seed=0
    )
    predictor, manifest = Predictor(bundle, precision="32"), Run(Path("both")).manifest
    rows = rows_of(held_out, manifest)[:20]
    fitted = [predictor.fit(read_image(manifest.uris[int(row)].as_py())) for row in rows]
    answers = predictor.probabilities(*(np.stack(images) for images in zip(*fitted, strict=True)))
    np.testing.assert_allclose(answers, held_out.probabilities[:20], atol=1e-5)


def test_an_ensemble_is_evaluated_again_to_the_same_scores(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found = evaluation_of("both")
    assert main(["evaluate", "both"]) == 0
    again = evaluation_of("both/evaluation")
    assert again.model_copy(update={"seconds": found.seconds}) == found


def test_the_report_shows_every_run_its_weight_and_the_paired_test(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    found = evaluation_of("both").ensemble
    assert found is not None
    page = Path("both/report.html").read_text(encoding="utf-8")
    for path, weight in found.weights.items():
        own = evaluation_of(path).test.accuracy
        assert own is not None and found.members[path] == own
        assert f"<bdi>{path}</bdi></th><td>{100 * weight:.0f} %</td>" in page
        assert f"<span>{100 * own.value:.1f}</span>" in page
    assert found.verdict in html.unescape(page)
    assert Path("both/figures/confusion.svg").is_file()


def test_an_ensemble_is_compared_like_a_run_and_other_commands_ask_for_a_member(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble(runs, "a", "wide") == 0
    assert main(["compare", "both", str(runs / "a")]) == 0
    for command in (["review", "both", "--no-open"], ["resume", "both"]):
        assert main(command) == 2
        assert "both/plan.md lists them" in capsys.readouterr().err


def test_prediction_asks_each_member_with_its_own_image_size_and_views(runs: Path, tmp_path: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    bundle = load_bundle(Path("both/model"))
    assert sorted(member.image_spec.height for member in bundle.members) == [16, 20]
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 255, (30, 24, 3), np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [tmp_path / "0.png", tmp_path / "broken.png", tmp_path / "1.png", tmp_path / "2.png"]
    found = evaluation_of("both").ensemble
    assert found is not None
    weights = found.weights
    table = Predictor(bundle, precision="32").predict(files, top_k=10)
    assert list(table["error"] != "") == [False, True, False, False]
    singles = {path: Predictor(load_bundle(Path(path) / "model"), precision="32") for path in weights}
    for row in (0, 2, 3):
        mean: dict[str, float] = dict.fromkeys(bundle.classes, 0.0)
        for path, fraction in weights.items():
            own = singles[path].predict([files[row]], top_k=10).iloc[0]
            for rank in range(1, 11):
                suffix = "" if rank == 1 else f"_{rank}"
                mean[own[f"label{suffix}"]] += fraction * own[f"probability{suffix}"]
        assert isinstance(bundle.temperature, float)
        scaled = {name: value ** (1 / bundle.temperature) for name, value in mean.items()}  # what ships is calibrated
        assert table["label"][row] == max(mean, key=mean.__getitem__)
        assert table["probability"][row] == pytest.approx(max(scaled.values()) / sum(scaled.values()), abs=1e-6)
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
        fraction = member.weight / sum(other.weight for other in bundle.members)
        logits = member.classifier((images - mean) / std) / torch.tensor(member.temperature)
        expected += fraction * logits.softmax(1)
    with torch.no_grad():
        assert torch.allclose(bundle.classifier(images).softmax(1), expected, atol=1e-5)
        features = bundle.classifier.features(images)
    assert features.shape == (4, bundle.classifier.num_features)


def test_averaged_weights_are_one_network_with_features_of_its_own(runs: Path) -> None:
    assert ensemble(runs, "a", "b", options=("--average-weights",)) == 0
    found, bundle = evaluation_of("both"), load_bundle(Path("both/model"))
    assert not bundle.members and bundle.classifier.name == "speed_cnn"
    assert found.ensemble is not None and found.ensemble.method == "weights" and found.ood is not None
    taken = [load_bundle(Path(path) / "model") for path, weight in found.ensemble.weights.items() if weight]
    mean = average_weights([member.classifier.state_dict() for member in taken])
    for name, value in bundle.classifier.state_dict().items():
        if "running" not in name:
            torch.testing.assert_close(value, mean[name])
    own, first = bundle.ood, load_bundle(runs / "a" / "model").ood
    assert own is not None and first is not None and len(own.reference) == found.ood.num_reference
    assert len(taken) == 1 or not np.array_equal(own.reference, first.reference), "another network sees other features"


def test_an_ensemble_says_that_its_configurations_are_those_of_its_members(runs: Path) -> None:
    assert ensemble(runs, "a", "wide") == 0
    run = Run(Path("both"))
    assert run.evaluation.ensemble is not None
    taken = [path for path, fraction in run.evaluation.ensemble.weights.items() if fraction]
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
        (("a", "wide"), ("--average-weights",), "image preprocessing differs"),
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
        assert ensemble(runs, "a", "b", options=("--average-weights",)) == 2
    finally:
        config.write_text(text)
    assert "random weights of seed 0 and random weights of seed 5" in capsys.readouterr().err


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on images of which ten belong together each, with settings of their own for how they are judged."""
    folder = tmp_path_factory.mktemp("grouped")
    digits = read_source("digits")
    manifest = replace(digits, groups=np.arange(len(digits), dtype=np.int64) // 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINNAEUS_CACHE", str(folder / "cache"))
        for name, lr in (("a", 0.12), ("b", 0.2)):
            settings = {
                "image": {"size": 16},
                "model": {"options": {"widths": [8, 16, 16]}},
                "phases": [{"lr": lr}],
                "evaluate": {"confidence": 0.9, "coverage": 0.8, "decide": "f1", "bootstrap_samples": 200},
                "runtime": {"threads": 1, "precision": "32"},
            }
            fit(settings, recipe="best-scratch-small", epochs=1, manifest=manifest, out=folder / name)
    return folder


@pytest.mark.parametrize("options", [(), ("--average-weights",)])
def test_groups_and_settings_of_the_runs_hold_for_what_is_made_of_them(
    grouped: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(grouped / "cache"))
    assert ensemble(grouped, "a", "b", options=options) == 0
    found, bundle = evaluation_of("both"), load_bundle(Path("both/model"))
    manifest = Run(grouped / "a").manifest
    assert manifest.groups is not None
    assert found.test.num_groups == len(np.unique(manifest.groups[manifest.rows(TEST)]))
    assert found.confidence == 0.9 and found.prediction_sets is not None
    assert found.prediction_sets.target_coverage == 0.8
    assert found.operating_point is not None and found.operating_point.rule == "f1"
    held_out = raw(Predictions.load(Path("both/predictions.parquet"))).of_split(VALIDATION)
    calibrated = replace(held_out, temperature=bundle.temperature)
    chosen = choose_point(calibrated, rule="f1", threshold_rule="balanced", costs={}, score_targets=[])
    assert bundle.operating_point == chosen.point, "what was asked for is chosen anew, by what ships"
    assert main(["evaluate", "both"]) == 0
    again = evaluation_of("both/evaluation")
    assert again.model_copy(update={"seconds": found.seconds}) == found
