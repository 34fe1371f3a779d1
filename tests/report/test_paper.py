"""Figures and tables for a paper: files that other programs read, with the numbers of the evaluation."""

import dataclasses
import io
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linnaeus.judging.curves import class_curves
from linnaeus.judging.score_table import table_of
from linnaeus.report.paper import paper_figures, paper_tables, render_png, standalone_svg, write_paper
from linnaeus.report.ranking import ranking_of

SVG = "{http://www.w3.org/2000/svg}"


def with_curves(facts):
    scores = facts.evaluation["test"]
    curves = class_curves(table_of(facts.predictions.of_split(2)), scores=scores)
    return dataclasses.replace(facts, evaluation={**facts.evaluation, "curves": curves})


def test_figures_are_whole_svg_and_tables_hold_the_scores(make_facts, tmp_path):
    facts = make_facts(("ant", "b_e & <i>", "cow"))
    write_paper(figures=tmp_path / "figures", tables=tmp_path / "tables", facts=facts)
    names = {"accuracy", "loss", "confusion", "f1-by-class"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{n}.{e}" for n in names for e in ("svg", "png")
    }
    for name in names:
        root = ET.parse(tmp_path / "figures" / f"{name}.svg").getroot()
        assert root.tag == f"{SVG}svg"
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            picture.load()
            assert abs(picture.width - 3 * float(root.get("width"))) <= 3
    test = facts.evaluation["test"]
    scores = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("score")
    assert scores.loc["accuracy", "value"] == test["accuracy"]["value"]
    classes = pd.read_csv(tmp_path / "tables" / "classes.csv")
    assert classes["class"].tolist() == ["ant", "b_e & <i>", "cow"]
    assert classes["recall"].tolist() == [row["recall"] for row in test["per_class"].values()]
    confusion = pd.read_csv(tmp_path / "tables" / "confusion.csv")
    assert confusion.iloc[:, 1:].to_numpy().tolist() == test["confusion"]
    latex = (tmp_path / "tables" / "classes.tex").read_text(encoding="utf-8")
    assert "class & precision & recall & specificity & F1 &" in latex
    assert r"b\_e \& " in latex and r"\begin{tabular}" in latex


def test_the_table_of_slices_says_which_they_are_beside_their_scores():
    row = {"column": "brightness", "value": "16 to 77", "num_images": 27, "rest": 0.5, "p_value": 0.01, "worse": True}
    row["same_images"] = ["contrast 5 to 9"]
    evaluation = {
        "test": {"per_class": {}},
        "slices": {"slices": [{**row, "score": {"value": 0.412, "low": 0.3, "high": 0.5}}]},
    }
    (found,) = paper_tables(evaluation)["slices"].to_dict("records")
    assert (found["value"], found["images"], found["score"], found["low"]) == ("16 to 77", 27, 0.412, 0.3)


def test_names_that_latex_reads_as_commands_are_escaped(make_facts, tmp_path):
    write_paper(
        figures=tmp_path / "f", tables=tmp_path / "t", facts=make_facts(("N/A_&%", "$x^2$ #~", "back\\slash {}"))
    )
    for name in ("classes", "confusion"):
        latex = (tmp_path / "t" / f"{name}.tex").read_text(encoding="utf-8")
        assert r"N/A\_\&\%" in latex and r"\$x\textasciicircum 2\$ \#\textasciitilde" in latex
        assert r"back\textbackslash slash \{\}" in latex


def test_a_png_is_white_with_coloured_lines_and_letters(make_facts):
    charts = dict(paper_figures(with_curves(make_facts())))
    assert {"ROC curves", "Precision and recall"} <= set(charts)
    svg = standalone_svg(charts["ROC curves"])
    drawn, without_text = (
        np.asarray(Image.open(io.BytesIO(render_png(text))).convert("RGB"))
        for text in (svg, svg.replace("<text", "<desc").replace("</text", "</desc"))
    )
    assert drawn[0, 0].tolist() == [255, 255, 255]
    assert (np.abs(drawn.astype(int) - (27, 107, 82)).max(axis=2) < 8).any()
    assert (drawn != without_text).any()


def test_curves_run_from_left_to_right_and_the_worst_classes_are_named(make_facts):
    facts = with_curves(make_facts(("ant", "bee", "cow", "dog", "<elk>")))
    scores = facts.evaluation["test"]["per_class"]
    worst = sorted(scores, key=lambda name: scores[name]["average_precision"])[:3]
    ranking = ranking_of(facts.evaluation)
    assert ranking is not None and "drawn strong" in ranking.words
    for _, chart in ranking.charts:
        root = ET.fromstring(chart)
        lines = root.findall("polyline")
        assert len(lines) == 5
        for line in lines:
            x = [float(point.split(",")[0]) for point in line.get("points").split()]
            assert x == sorted(x)
        assert {text.text for text in root.findall("text") if text.get("class").startswith("name")} == set(worst)


def test_classes_with_few_test_images_are_not_the_ones_drawn_strong(make_facts):
    facts = with_curves(make_facts(("ant", "bee", "cow", "dog"), per_class=60))
    scores = facts.evaluation["test"]["per_class"]
    scores["cow"].update(support=1, average_precision=0.0)
    ranking = ranking_of(facts.evaluation)
    assert ranking is not None and "of those with 20 test images and more are drawn strong" in ranking.words
    named = [
        text.text for text in ET.fromstring(ranking.charts[0][1]).findall("text") if text.get("class")[:4] == "name"
    ]
    assert sorted(named) == ["ant", "bee", "dog"]


def test_without_curves_nothing_is_said_of_ranking(make_facts):
    assert ranking_of(make_facts().evaluation) is None


@pytest.mark.parametrize("number", [2, 31, 70])
def test_as_many_classes_are_drawn_as_can_be_read(make_facts, number):
    charts = dict(paper_figures(make_facts(tuple(f"class {k}" for k in range(number)), per_class=6)))
    assert ("Confusion" in charts) == (number <= 30)
    bars = [r for r in ET.fromstring(charts["F1 by class"]).findall("rect") if r.get("class") == "own"]
    assert len(bars) == min(number, 60)
