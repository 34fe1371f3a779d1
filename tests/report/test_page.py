"""The whole page, read back with a parser: complete in itself, harmless, accessible, and true to the scores."""

import base64
import hashlib
import io
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.report.editing import edited
from tests.report.reading import HOSTILE, Page, numbers

from linnaeus.errors import UnreadableImageError
from linnaeus.report.page import render_report, write_report
from linnaeus.report.wording import figure


@pytest.fixture
def page(make_facts):
    return lambda *args, **fields: Page(render_report(make_facts(*args, **fields)))


def test_the_page_reaches_for_nothing_outside_itself(page):
    read = page()
    for _, attributes in read.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
        assert "url(" not in attributes.get("style", "")
    embedded = re.compile(r'url\("data:image/(webp|png|jpeg);base64,[A-Za-z0-9+/=]*"\)')
    assert not re.search(r"url\(|@import|https?:|//[a-z]", embedded.sub("", read.raw))
    policy = next(m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_only_our_script_may_run(make_facts):
    html = render_report(make_facts())
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_hostile_names_change_no_element_of_the_page(make_facts):
    def facts_named(names):
        return make_facts(
            tuple(names),
            prefix=names[0],
            title=names[1],
            decisions=[tuple(names[:3])],
            environment={names[3]: names[4]},
            problems=[(names[0], names[1])],
            history=pd.DataFrame({"epoch": [1, 2], "phase": names[:2], "train_loss": [1.0, 0.5]}),
        )

    hostile = Page(render_report(facts_named(HOSTILE)))
    harmless = Page(render_report(facts_named([f"{k}".ljust(len(name), "x") for k, name in enumerate(HOSTILE)])))
    shape = [[(tag, list(attributes)) for tag, attributes in page.tags] for page in (hostile, harmless)]
    assert shape[0] == shape[1]
    for name in HOSTILE:
        assert name in hostile.text


def test_headline_and_tiles_show_the_numbers_of_the_evaluation(make_facts, page):
    test, read = make_facts().evaluation.test, page()
    for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_f1"):
        score = test.score(name)
        shown = [float(figure(value)) for value in (score.value, score.low, score.high)]
        assert set(shown) <= set(numbers(read.within("scores").replace("–", " "))), name
    top = numbers(read.within("result").replace("–", " "))
    accuracy = test.score("accuracy")
    assert top[:2] == [float(figure(accuracy.value)), test.num_images]
    assert {float(figure(accuracy.low)), float(figure(accuracy.high)), 95} <= set(top)


def test_groups_are_counted_beside_images_where_intervals_resample_them(make_facts, page):
    grouped, single = page(per_class=60, num_groups=20), page(per_class=60)
    test = make_facts(per_class=60, num_groups=20).evaluation.test
    assert (test.num_images, test.num_groups) == (60, 20)
    for words in (grouped.within("result"), grouped.within("scores")):
        assert re.search(rf"{test.num_images} images in {test.num_groups} groups", words.replace("\xa0", " "))
    assert "groups" not in single.within("result")


@pytest.mark.parametrize("num_classes", [2, 3, 10, 25, 40])
def test_every_class_and_its_scores_appear(page, make_facts, num_classes):
    classes = tuple(f"species number {k} of a long-named family" for k in range(num_classes))
    text = page(classes).within("classes")
    for name, row in make_facts(classes).evaluation.test.per_class.items():
        assert f"{name} {figure(row.precision)} {figure(row.recall)} {figure(row.specificity)} {figure(row.f1)}" in text


@pytest.mark.parametrize(
    ("section", "values"),
    [("prediction_sets", {"prediction_sets": None}), ("ood", {"ood": None}), ("baselines", {"baselines": None})],
)
def test_a_section_that_cannot_be_worked_out_says_why_or_is_not_there(make_facts, section, values):
    facts = edited(make_facts(per_class=60), values)
    reason = "Nothing was kept by which <that> could be told."
    assert Page(render_report(edited(facts, {"omitted": {section: reason}}))).within(section).endswith(reason)
    assert section not in Page(render_report(facts)).ids


def test_the_matrix_gives_way_to_pairs_beyond_thirty_classes(page):
    def matrices(read):
        return [table for table in read.all("table") if table.get("class", "").startswith("matrix")]

    assert len(matrices(page(tuple(f"c{k}" for k in range(30))))) == 1
    large = page(tuple(f"c{k}" for k in range(31)))
    assert not matrices(large)
    assert large.within("confusion").count(" c0") > 0, "pairs stand in its place"


def test_the_matrix_holds_counts_and_percent_of_row(make_facts):
    html = render_report(make_facts(("ant", "bee")))
    confusion = make_facts(("ant", "bee")).evaluation.test.confusion
    cells = re.findall(r'<span class="images">([\d,]+)</span><span class="fraction">([\d<]+)</span>', html)
    expected = [(str(n), f"{100 * n / sum(row):.0f}") for row in confusion for n in row if n]
    assert cells == expected


def test_pictures_are_few_and_the_page_is_small_even_if_thumbnails_are_large(make_facts):
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    html = render_report(make_facts(tuple(f"c{k}" for k in range(20)), thumbnails=lambda row: file.getvalue()))
    pictures = re.findall(r'url\("data:image/webp;base64,([^"]*)"\)', html)
    assert len(pictures) == 1, "one picture, however often it is shown"
    assert html.count("url(") == 1
    assert len(html.encode()) < 2_000_000
    assert max(Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size) == 160


def test_a_thousand_classes_stay_below_two_megabytes(make_facts):
    html = render_report(make_facts(tuple(f"some species {k}" for k in range(1000)), per_class=3))
    assert len(html.encode()) < 2_000_000


def test_an_image_that_cannot_be_shown_is_said_to_be_so(make_facts):
    def thumbnail(row):
        raise UnreadableImageError("gone")

    read = Page(render_report(make_facts(thumbnails=thumbnail)))
    assert not re.search(r"url\(", read.raw)
    assert "cannot be shown" in read.text


def test_no_mistakes_and_only_mistakes_are_both_told(page):
    perfect, hopeless = page(accuracy=1.0), page(accuracy=0.0)
    assert numbers(perfect.within("result"))[:2] == [100, 24] and numbers(hopeless.within("result"))[:2] == [0, 24]
    assert "not-above-baseline" in hopeless.notices - perfect.notices
    assert "confused" in hopeless.ids - perfect.ids
    pictures = [[span for span in read.all("p") if span.get("class") == "allright"] for read in (perfect, hopeless)]
    assert len(pictures[0]) > 0 and len(pictures[1]) > 0, "an empty gallery says that it is empty"


def test_the_plan_the_configuration_and_the_environment_are_there(page):
    text = page().text
    for words in (
        "speed_cnn small images",
        "bootstrap_samples: 1000",
        "device CPU",
        "404,778 parameters",
        "1 min 12 s",
    ):
        assert words in text, words


def test_skipped_and_unreadable_files_are_listed(page):
    read = page(problems=[(f"{k}.png", "no bytes") for k in range(25)])
    data = read.within("data")
    assert "no image (2)" in data
    assert "hidden (" not in data, "nothing hidden was skipped"
    assert "19.png" in data and "20.png no bytes" not in data, "only the first twenty"
    assert {25, 5} <= set(numbers(data))
    assert 25 not in numbers(page(problems=[]).within("data"))


def test_file_names_that_are_not_unicode_do_not_stop_the_page(make_facts, tmp_path):
    write_report(tmp_path / "report.html", make_facts(problems=[("caf\udce9.png", "truncated")]))
    assert "caf\\udce9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_page(make_facts):
    assert render_report(make_facts()) == render_report(make_facts())


def test_numbers_that_do_not_exist_are_never_printed(page):
    history = pd.DataFrame({"epoch": [1, 2], "phase": ["a", "a"], "train_loss": [np.nan, 1.0]})
    for read in (page(history=history), page(history=history.iloc[:0]), page(accuracy=0.0)):
        assert not re.search(
            r"\b(nan|inf|None|undefined)\b", read.text.replace("None. No", "").replace("None. Every", "")
        )


def test_structure_serves_keyboards_and_screen_readers(page):
    read = page(tuple("abcdefghijkl"))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for name in ("aria-labelledby", "for"):
            assert attributes.get(name, ids[0]) in ids
    for link in read.all("a"):
        assert link["href"].removeprefix("#") in ids
    assert len(read.all("h1")) == len(read.all("main")) == 1
    assert all(th.get("scope") in ("col", "row") for th in read.all("th"))
    pictures = [span for span in read.all("span") if "picture" in span.get("class", "").split()]
    assert pictures
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    for svg in read.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-labelledby"] in ids)
    assert read.all("html") == [{"lang": "en"}]
    assert "aria-sort" in read.raw
    assert sum("data-sortable" in table for table in read.all("table")) == 1


def test_text_is_legible_on_every_ground_in_light_and_dark():
    css = (resources.files("linnaeus.report") / "templates" / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    values: dict[str, str] = {}
    for block in blocks:  # dark repeats only what differs
        values |= dict(re.findall(r"--([\w-]+): ([^;]+);", block))
        colours = {n: tuple(int(v[k : k + 2], 16) for k in (1, 3, 5)) for n, v in values.items() if v.startswith("#")}
        paper, ink = colours["paper"], colours["ink"]

        def tinted(rgb, alpha, paper=paper):
            return tuple(alpha * t + (1 - alpha) * p for t, p in zip(map(int, rgb.split()), paper, strict=True))

        grounds = [paper, colours["card"]]
        for ground in grounds:
            for text in ("ink", "muted", "accent"):
                assert contrast(colours[text], ground) >= 4.5, (text, ground)
        assert contrast(paper, colours["accent"]) >= 4.5
        assert contrast(ink, tinted(values["accent-rgb"], float(values["right-shade"]))) >= 4.5
        assert contrast(ink, tinted(values["ink-rgb"], float(values["wrong-shade"]))) >= 4.5


def contrast(one, other) -> float:
    """WCAG 2 contrast ratio of two sRGB colours."""

    def luminance(colour):
        linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
