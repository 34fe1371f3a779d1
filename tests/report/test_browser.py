"""The page in a real browser: what can be clicked, dragged and reached by keyboard, without an error in the console."""

import pytest
from tests.browsing import chromium, needs_chromium, patient

from linnaeus.report import sections
from linnaeus.report.page import write_report
from linnaeus.report.thresholds import Row, ThresholdSection

pytestmark = needs_chromium
HOSTILE = "<script>document.title='broken'</script>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser, make_facts, tmp_path, monkeypatch):
    """The page of a run with a slider too, open in a tab; no error may have been said at the end."""
    rows = [Row("a", "0.50", (3, 3), "50.0", "100", "66.7", 3, [3] * 61 + [1] * 40, [3] * 61 + [0] * 40)]
    section = ThresholdSection(rows, "6", 100, None)

    more = (
        *sections.PARTS,
        sections.Part("more", "More", (sections.Section("thresholds", "T", lambda _: section),)),
    )
    monkeypatch.setattr("linnaeus.report.page.PARTS", more)
    write_report(tmp_path / "report.html", make_facts((HOSTILE, "bee", "cow"), per_class=60))
    page = patient(browser.new_page(viewport={"width": 1000, "height": 900}))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    yield page
    page.close()
    assert said == []


def test_a_cell_shows_its_pictures_and_the_arrow_keys_move_between_cells(opened):
    cells = opened.locator("table.matrix td button")
    number = int(cells.first.inner_text())
    cells.first.focus()
    opened.keyboard.press("Enter")
    panel = opened.locator("#cell-pictures")
    assert panel.is_visible()
    assert panel.locator("[role=img]").count() == number
    assert HOSTILE in panel.inner_text()
    sizes = panel.locator("[role=img]").first.evaluate("element => getComputedStyle(element).backgroundImage")
    assert sizes.startswith('url("data:image/')
    opened.keyboard.press("ArrowDown")
    focused = opened.evaluate("document.activeElement.closest('td').dataset.cell")
    assert focused == "1-0"
    assert opened.locator("table.matrix button[tabindex='0']").count() == 1
    assert opened.title().startswith("animals")


def test_the_class_table_sorts_by_a_heading(opened):
    heading = opened.locator("table[data-sortable] thead button").nth(2)
    column = "rows => rows.map(row => Number(row.cells[2].dataset.value))"
    heading.click()
    rising = opened.eval_on_selector_all("table[data-sortable] tbody tr", column)
    heading.click()
    assert rising == sorted(rising)
    assert opened.eval_on_selector_all("table[data-sortable] tbody tr", column) == rising[::-1]


def test_the_slider_computes_scores_anew_and_goes_back_to_the_chosen_ones(opened):
    cells = opened.locator("#threshold-table tbody td")
    assert cells.all_inner_texts() == ["0.50", "50.0", "100", "66.7", "3"]
    opened.locator("#threshold").focus()
    for _ in range(11):
        opened.keyboard.press("ArrowRight")  # 0.61: one hit, no miss, of three
    assert cells.all_inner_texts() == ["0.61", "100", "33.3", "50.0", "3"]
    assert "recall 33.3 %" in opened.locator("#threshold-summary").inner_text()
    opened.locator("#threshold-reset").click()
    assert "precision 50.0 %, recall 100 %, F1 66.7 %" in opened.locator("#threshold-summary").inner_text()
    assert cells.all_inner_texts() == ["0.50", "50.0", "100", "66.7", "3"]


def test_a_chart_tells_its_values_under_the_pointer(opened):
    band = opened.locator(".chart .hover").nth(2)
    band.scroll_into_view_if_needed()
    band.hover()
    assert opened.locator(".tip").inner_text().startswith("epoch 3: train 0.667")


def test_a_phone_needs_no_scrolling_sideways_and_nothing_is_lost_without_scripts(browser, make_facts, tmp_path):
    write_report(tmp_path / "report.html", make_facts(("ant", "bee", "cow"), per_class=60))
    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    page = patient(context.new_page())
    page.goto((tmp_path / "report.html").as_uri())
    text = page.locator("main").inner_text()
    assert all(words in text for words in ("ant", "bee", "cow", "404,778"))
    for part in ("trust", "strengths", "why", "next", "making"):
        assert page.locator(f"#{part}").is_visible(), part
    context.close()
    page = patient(browser.new_page(viewport={"width": 390, "height": 844}))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()
