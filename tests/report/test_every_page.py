"""Every page of ours in a real browser: under axe-core, on paper, and with names that would be markup elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Dialog
from tests.axe import needs_axe, violations
from tests.browsing import chromium, needs_chromium, patient
from tests.runs.test_compare import write_run

from linnaeus.cli.main import main
from linnaeus.report.evaluation_page import write_evaluation_page
from linnaeus.report.facts import ReportFacts
from linnaeus.report.page import write_report

pytestmark = needs_chromium
PAGES = ("one_label", "several_labels", "evaluation", "audit", "comparison")
CLASSES = ("ant", "bee", "cow", "dog")
HOSTILE = """'"><img src=x onerror=alert(1)> Übung „zwei“ שלום <script>alert(2)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def write_page(
    make_facts: Callable[..., ReportFacts], make_label_facts: Callable[..., ReportFacts], tmp_path: Path
) -> Callable[..., Path]:
    """`write(page, name="")`: writes one of PAGES with all that it can show, and returns its path. Images, classes and
    runs have `name` in their names.
    """

    def one_label(name: str) -> ReportFacts:
        classes = tuple(name + word for word in CLASSES)
        issues = pd.DataFrame(
            {"id": [f"{name}0.png", f"{name}5.png"], "given": classes[0], "suggested": classes[1], "confidence": 0.9}
        )
        return make_facts(classes, per_class=60, prefix=name, label_issues=issues)

    def images(name: str) -> Path:
        one, other = (tmp_path / "photos" / f"{name}{word}" for word in "ab")
        for folder, shade in ((one, 40), (other, 200)):
            folder.mkdir(parents=True)
            for k in range(8):
                noise = np.random.default_rng(k).integers(0, 50, (40, 48, 3)) + shade
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{name}{k}.png")
        Image.new("RGB", (40, 48)).save(one / f"{name}black.png")
        shutil.copy(one / f"{name}0.png", other / f"{name}copy.png")
        (other / f"{name}broken.png").write_bytes(b"no picture")
        return tmp_path / "photos"

    def write(page: str, name: str = "") -> Path:
        path = tmp_path / "page.html"
        if page == "one_label":
            write_report(path, one_label(name))
        elif page == "several_labels":
            write_report(path, make_label_facts(tuple(name + word for word in CLASSES[:3])))
        elif page == "evaluation":
            write_evaluation_page(path, one_label(name).evaluation, title=f"{name}theirs.csv")
        elif page == "audit":
            data, out = images(name), tmp_path / "audit"
            assert main(["inspect", str(data), "--out", str(out), "--trace", f"{name}a/{name}0.png"]) == 0
            path = out / "audit.html"
        else:
            runs = [str(write_run(tmp_path / f"{name}{k}", right=right)) for k, right in enumerate((0.95, 0.7))]
            assert main(["compare", *runs, "--html", str(path)]) == 0
        return path

    return write


@needs_axe
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_any_page(
    browser: Any, write_page: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    path = write_page(name)
    found = []
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
        page = patient(context.new_page())
        page.goto(path.as_uri())
        cells = page.locator("table.matrix td button")
        if cells.count():
            cells.first.click()
        found += [f"{scheme}, {width} px: {words}" for words in violations(page)]
        context.close()
    assert found == []


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_a_page_is_black_on_white_and_nothing_is_cut_off(
    browser: Any, write_page: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    context = browser.new_context(color_scheme="dark", viewport={"width": 690, "height": 980})  # A4 less its margins
    page = patient(context.new_page())
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


@pytest.mark.parametrize("name", PAGES)
def test_names_are_text_whatever_they_hold(
    browser: Any, write_page: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    page = patient(browser.new_page())
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def refuse(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    page.goto(write_page(name, HOSTILE).as_uri())
    cells = page.locator("table.matrix td button")
    for k in range(min(3, cells.count())):
        cells.nth(k).click()
    assert said == []
    assert page.locator("img[src=x], script:not([type]):not(:last-of-type)").count() == 0
    assert HOSTILE in page.locator("main").evaluate("element => element.textContent")
    page.close()
