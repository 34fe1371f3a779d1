"""Every page of ours under axe-core, light and dark, on a screen and on a phone; and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from axe import needs_axe, violations
from PIL import Image
from test_comparing import write_run

from linnaeus.cli.main import main
from linnaeus.evaluation.class_curves import class_curves
from linnaeus.evaluation.score_table import table_of
from linnaeus.evaluation.settle import describe_settled, settle
from linnaeus.report.evaluation_page import write_evaluation_page
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PAGES = ("one_label", "several_labels", "evaluation", "audit", "comparison")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def write_page(
    make_facts: Callable[..., ReportFacts], make_label_facts: Callable[..., ReportFacts], tmp_path: Path
) -> Callable[[str], Path]:
    """Writes one of PAGES with all that it can show, and returns its path."""

    def one_label() -> ReportFacts:
        facts = make_facts(("ant", "bee", "cow", "dog"), per_class=60)
        validation, test = facts.predictions.of_split(1), facts.predictions.of_split(2)
        settled = describe_settled(
            settle(validation, facts.config.evaluate), validation=validation, test=test, confidence=0.95
        )
        curves = class_curves(table_of(test), scores=facts.evaluation["test"])
        facts.evaluation.update(settled, curves=curves)
        issues = pd.DataFrame({"id": ["0.png", "5.png"], "given": "ant", "suggested": "bee", "confidence": 0.9})
        return make_facts(("ant", "bee", "cow", "dog"), per_class=60, evaluation=facts.evaluation, label_issues=issues)

    def images() -> Path:
        for name, shade in (("a", 40), ("b", 200)):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for k in range(8):
                noise = np.random.default_rng(k).integers(0, 50, (40, 48, 3)) + shade
                Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photos" / name / f"{k // 2 * 2}{k % 2}.png")
        Image.new("RGB", (40, 48)).save(tmp_path / "photos" / "a" / "black.png")
        shutil.copy(tmp_path / "photos" / "a" / "00.png", tmp_path / "photos" / "b" / "copy.png")
        (tmp_path / "photos" / "b" / "broken.png").write_bytes(b"no picture")
        return tmp_path / "photos"

    def write(name: str) -> Path:
        path = tmp_path / "page.html"
        if name == "one_label":
            write_report(path, one_label())
        elif name == "several_labels":
            write_report(path, make_label_facts())
        elif name == "evaluation":
            write_evaluation_page(path, one_label().evaluation, title="theirs.csv", level=0.95)
        elif name == "audit":
            assert main(["inspect", str(images()), "--out", str(tmp_path / "audit"), "--trace", "a/00.png"]) == 0
            path = tmp_path / "audit" / "audit.html"
        else:
            runs = [str(write_run(tmp_path / str(k), right=right)) for k, right in enumerate((0.95, 0.7))]
            assert main(["compare", *runs, "--html", str(path)]) == 0
        return path

    return write


@needs_axe
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_any_page(
    browser: Any, write_page: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    path = write_page(name)
    found = []
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto(path.as_uri())
        cells = page.locator("table.matrix td button")
        if cells.count():
            cells.first.click()
        found += [f"{scheme}, {width} px: {words}" for words in violations(page)]
        context.close()
    assert found == []


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_a_page_is_black_on_white_and_nothing_is_cut_off(
    browser: Any, write_page: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    context = browser.new_context(color_scheme="dark", viewport={"width": 690, "height": 980})  # A4 less its margins
    page = context.new_page()
    page.goto(write_page(name).as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 32, 30)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    hidden = (
        "element => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== 'visible'"
    )
    assert page.evaluate(f"Array.from(document.querySelectorAll('.scroll')).filter({hidden}).length") == 0
    context.close()
