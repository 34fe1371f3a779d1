"""Figures and tables for a paper: files that other programs read, with the numbers of the evaluation."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.report.editing import edited, score
from tests.report.reading import present

from linnaeus.report.paper import paper_figures, paper_tables, render_png, standalone_svg, write_paper
from linnaeus.report.ranking import make_ranking

SVG = "{http://www.w3.org/2000/svg}"


def test_figures_are_whole_svg_and_tables_hold_the_scores(make_facts, tmp_path):
    facts = make_facts(("ant", "b_e & <i>", "cow"))
    write_paper(figures=tmp_path / "figures", tables=tmp_path / "tables", facts=facts)
    names = {"accuracy", "loss", "confusion", "f1-by-class", "reliability-diagram", "accuracy-coverage-curve"}
    names |= {"roc-curves", "precision-recall-curves"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{n}.{e}" for n in names for e in ("svg", "png")
    }
    for name in names:
        root = ET.parse(tmp_path / "figures" / f"{name}.svg").getroot()
        assert root.tag == f"{SVG}svg"
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            picture.load()
            assert abs(picture.width - 3 * float(present(root.get("width")))) <= 3
    test = facts.evaluation.test
    scores = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("score")
    written = {end: scores.loc["accuracy", end] for end in ("value", "low", "high")}
    assert written == test.accuracy.model_dump()
    classes = pd.read_csv(tmp_path / "tables" / "classes.csv")
    assert classes["class"].tolist() == ["ant", "b_e & <i>", "cow"]
    assert classes["recall"].tolist() == [row.recall for row in test.per_class.values()]
    confusion = pd.read_csv(tmp_path / "tables" / "confusion.csv")
    assert confusion.iloc[:, 1:].to_numpy().tolist() == test.confusion
    latex = (tmp_path / "tables" / "classes.tex").read_text(encoding="utf-8")
    assert "class & precision & recall & specificity & F1 &" in latex
    assert r"b\_e \& " in latex and r"\begin{tabular}" in latex


def test_the_table_of_slices_says_which_they_are_beside_their_scores(make_facts):
    row = {"column": "brightness", "value": "16 to 77", "num_images": 27, "rest": 0.5, "p_value": 0.01, "worse": True}
    row |= {"same_images": ["contrast 5 to 9"], "score": score(0.412, 0.3, 0.5)}
    (found,) = paper_tables(edited(make_facts(), {"slices/slices": [row]}).evaluation)["slices"].to_dict("records")
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
    charts = dict(paper_figures(make_facts()))
    assert {"ROC curves", "Precision-recall curves"} <= set(charts)
    svg = standalone_svg(charts["ROC curves"])
    drawn, without_text = (
        np.asarray(Image.open(io.BytesIO(render_png(text))).convert("RGB"))
        for text in (svg, svg.replace("<text", "<desc").replace("</text", "</desc"))
    )
    assert drawn[0, 0].tolist() == [255, 255, 255]
    assert (np.abs(drawn.astype(int) - (27, 107, 82)).max(axis=2) < 8).any()
    assert (drawn != without_text).any()


def names_in(chart):
    """Those that are written at the ends of lines."""
    return {text.text for text in ET.fromstring(chart).findall("text") if present(text.get("class")).startswith("name")}


def test_curves_run_from_left_to_right_and_the_worst_classes_are_named(make_facts):
    evaluation = make_facts(("ant", "bee", "cow", "dog", "<elk>")).evaluation
    scores = evaluation.test.per_class
    worst = sorted(scores, key=lambda name: scores[name].average_precision)[:3]
    for _, chart in present(make_ranking(evaluation)).charts:
        lines = ET.fromstring(chart).findall("polyline")
        assert len(lines) == 5
        for line in lines:
            x = [float(point.split(",")[0]) for point in present(line.get("points")).split()]
            assert x == sorted(x)
        assert names_in(chart) == set(worst)


def test_classes_with_few_test_images_are_not_the_ones_drawn_strong(make_facts):
    facts = make_facts(("ant", "bee", "cow", "dog"), per_class=60)
    facts = edited(facts, {"test/per_class/cow/support": 1, "test/per_class/cow/average_precision": 0.0})
    assert names_in(present(make_ranking(facts.evaluation)).charts[0][1]) == {"ant", "bee", "dog"}


def test_without_curves_nothing_is_said_of_ranking(make_facts):
    assert make_ranking(edited(make_facts(), {"curves": {}}).evaluation) is None


@pytest.mark.parametrize("number", [2, 31, 70])
def test_as_many_classes_are_drawn_as_can_be_read(make_facts, number):
    charts = dict(paper_figures(make_facts(tuple(f"class {k}" for k in range(number)), per_class=6)))
    assert ("Confusion" in charts) == (number <= 30)
    bars = [r for r in ET.fromstring(charts["F1 by class"]).findall("rect") if r.get("class") == "own"]
    assert len(bars) == min(number, 60)
