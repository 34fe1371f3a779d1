"""Figures and tables for a paper: files that other programs read, with the numbers of the evaluation."""

import xml.etree.ElementTree as ET

import pandas as pd

from linnaeus.report.paper import write_paper


def test_figures_are_whole_svg_and_tables_hold_the_scores(make_facts, tmp_path):
    facts = make_facts(("ant", "b_e & <i>", "cow"))
    write_paper(figures=tmp_path / "figures", tables=tmp_path / "tables", facts=facts)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["accuracy.svg", "loss.svg"]
    for path in (tmp_path / "figures").iterdir():
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    test = facts.evaluation["test"]
    scores = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("score")
    assert scores.loc["accuracy", "value"] == test["accuracy"]["value"]
    classes = pd.read_csv(tmp_path / "tables" / "classes.csv")
    assert classes["class"].tolist() == ["ant", "b_e & <i>", "cow"]
    assert classes["recall"].tolist() == [row["recall"] for row in test["per_class"].values()]
    confusion = pd.read_csv(tmp_path / "tables" / "confusion.csv")
    assert confusion.iloc[:, 1:].to_numpy().tolist() == test["confusion"]
    latex = (tmp_path / "tables" / "classes.tex").read_text(encoding="utf-8")
    assert r"b\_e \& " in latex and r"\begin{tabular}" in latex
