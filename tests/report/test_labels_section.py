"""The section on labels that look wrong: what it says, and that hostile names are harmless in it."""

import pandas as pd
from tests.report.reading import Page, numbers, present

from linnaeus.report.label_issues import MOST_SHOWN, make_label_issues
from linnaeus.report.page import render_report


def issues(rows, *, ids=None):
    frame = pd.DataFrame(rows, columns=["given", "suggested"])
    frame.insert(0, "id", ids or [f"{row}.png" for row in range(len(frame))])
    return frame.assign(split="train", kind="wrong", confidence=0.9)


def test_the_number_the_fraction_and_the_commonest_doubts_are_told(make_facts):
    rows = [("ant", "bee")] * 3 + [("", "cow")] * 2 + [("bee", "")] * 2 + [("cow", "ant")]
    section = make_label_issues(make_facts(label_issues=issues(rows)))
    assert section is not None
    assert section.number == "8\xa0labels"
    assert section.fraction == "16.7\xa0%", "of 48 training and validation images"
    assert section.pairs is not None
    assert numbers(section.pairs) == [3, 2, 2], "the most frequent doubt first"
    assert [section.pairs.index(name) for name in ("ant", "cow")] == sorted(map(section.pairs.index, ("ant", "cow")))
    assert numbers(section.shown) == [] and len(section.suspects) == len(rows)
    assert all(present(suspect.uri).startswith("data:image/png") for suspect in section.suspects)


def test_only_the_most_suspicious_are_shown(make_facts):
    section = make_label_issues(make_facts(label_issues=issues([("ant", "bee")] * 40)))
    assert section is not None
    assert len(section.suspects) == MOST_SHOWN and numbers(section.shown) == [MOST_SHOWN, 40]


def test_one_kind_of_doubt_does_not_crowd_out_the_others(make_facts):
    rows = [("ant", "bee")] * 20 + [("cow", "ant")] * 2
    shown = present(make_label_issues(make_facts(label_issues=issues(rows)))).suspects
    assert [suspect.given for suspect in shown] == ["ant"] * (MOST_SHOWN - 2) + ["cow"] * 2
    assert [suspect.id for suspect in shown[:3]] == ["0.png", "1.png", "2.png"]


def test_where_too_many_labels_look_wrong_the_list_is_not_believed(make_facts):
    few, many = ([("ant", "bee")] * number for number in (7, 8))  # of 48 training and validation images
    assert not present(make_label_issues(make_facts(label_issues=issues(few)))).large
    assert present(make_label_issues(make_facts(label_issues=issues(many)))).large


def test_there_is_no_section_without_suspects(make_facts):
    assert make_label_issues(make_facts()) is None
    assert make_label_issues(make_facts(label_issues=issues([]))) is None
    assert "labels" not in Page(render_report(make_facts())).ids


def test_hostile_names_are_escaped(make_facts):
    hostile = "<script>alert(1)</script>"
    page = render_report(make_facts(label_issues=issues([(hostile, "</bdi>&"), (hostile, "")], ids=["0.png", hostile])))
    assert "label_issues.csv" in page
    assert hostile not in page
    assert "</bdi>&<" not in page
