"""Pictures in the page: each once, bounded in number, the worst mistakes first."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from tests.report.reading import present

from linnaeus.errors import UnreadableImageError
from linnaeus.report.cell_pictures import MOST_PICTURES, SIDE_PX, make_cell_pictures, small_picture
from linnaeus.report.confused import make_confused
from linnaeus.report.embedded import PLACE, EmbeddedPictures
from linnaeus.report.gallery import data_uri
from linnaeus.report.page import render_report

URI = "data:image/png;base64,AAAA"


def cells_of(facts):
    return [(int(i), int(j)) for i, j in np.argwhere(np.array(facts.evaluation.test.confusion))]


def test_a_picture_is_embedded_once_however_often_it_is_shown():
    pictures = EmbeddedPictures()
    names = [pictures.name(URI), pictures.name("data:image/png;base64,BBBB"), pictures.name(URI)]
    assert names[0] == names[2] != names[1]
    assert str(pictures.rules()).count("url(") == 2
    with pytest.raises(AssertionError):
        pictures.name('data:image/png;base64,"}</style><script>')


def test_names_cannot_forge_the_place_of_the_pictures(make_facts):
    html = render_report(make_facts((PLACE, "bee", "cow"), title=PLACE))
    assert html.index("background-image:url(") < html.index("</style>")
    assert html.count("&lt;!--pictures--&gt;") >= 2
    assert PLACE not in html


def test_cells_show_their_surest_pictures_first_and_tell_how_many_there_are(make_facts):
    facts = make_facts(("ant", "bee", "cow"), per_class=60)
    confusion = facts.evaluation.test.confusion
    cells = make_cell_pictures(facts, cells_of(facts))
    for key, cell in cells.items():
        i, j = map(int, key.split("-"))
        assert cell.number == confusion[i][j] == len(cell.shown)
        assert {(p.true, p.predicted) for p in cell.shown} == {(facts.manifest.classes[i], facts.manifest.classes[j])}
        sure = [float(present(p.probability).split("\xa0")[0]) for p in cell.shown]
        assert sure == sorted(sure, reverse=True)


def test_when_there_is_room_for_few_pictures_every_kind_of_mistake_has_one_before_right_answers(make_facts):
    facts = make_facts(("ant", "bee", "cow"), per_class=60)
    wrong = [cell for cell in cells_of(facts) if cell[0] != cell[1]]
    cells = make_cell_pictures(facts, cells_of(facts), at_most=len(wrong))
    assert {key: len(cell.shown) for key, cell in cells.items() if cell.shown} == {f"{i}-{j}": 1 for i, j in wrong}


def test_the_page_stays_bounded_however_many_test_images_there_are(make_facts):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)  # hardly to be compressed

    def fitted(row):
        return np.roll(noise, row, axis=0)

    facts = make_facts(tuple("abcdefghij"), per_class=600, fitted=fitted)
    assert len(facts.predictions.of_split(2)) == 2000
    html = render_report(facts)
    cells = json.loads(present(re.search(r'id="cells">(.*?)</script>', html, re.DOTALL))[1])
    assert 300 < sum(len(shown) for _, shown in cells.values()) <= MOST_PICTURES
    assert len(html.encode()) < 15_000_000


def test_small_pictures_come_from_the_pixels_the_network_saw(make_facts):
    def fitted(row):
        if row == 1:
            raise UnreadableImageError("gone")
        return np.full((224, 224, 3), 7 * row, np.uint8)

    facts = make_facts(fitted=fitted)
    assert small_picture(facts, 1) == (None, False)
    uri, coarse = small_picture(facts, 9)
    assert not coarse
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.size == (SIDE_PX, SIDE_PX)
        assert abs(int(np.asarray(picture.convert("RGB")).mean()) - 63) <= 2


def test_the_matrix_names_its_pictures_in_json_that_hostile_names_cannot_break(make_facts):
    html = render_report(make_facts(("<script>alert(1)</script>", "bee"), prefix='</script>"\\', per_class=60))
    found = re.search(r'<script type="application/json" id="cells">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    cells = json.loads(found[1])
    assert set(cells) <= {"0-0", "0-1", "1-0", "1-1"}
    number, shown = cells["0-0"]
    assert number >= len(shown) > 0
    style, name, _ = shown[0]
    assert re.search(rf"\.{style.split()[0]}\{{background-image", html)
    assert name.startswith('</script>"\\')
    assert "<script>alert" not in html


def test_the_most_confused_pairs_are_pictured_and_there_is_no_section_without_mistakes(make_facts):
    facts = make_facts(("ant", "bee", "cow"), per_class=60)
    pairs = make_confused(facts)
    assert pairs is not None
    assert [int(pair.number) for pair in pairs] == sorted((int(pair.number) for pair in pairs), reverse=True)
    assert all((p.true, p.predicted) == (pair.true, pair.predicted) for pair in pairs for p in pair.shown)
    assert make_confused(make_facts(accuracy=1.0)) is None


def test_a_data_uri_is_what_the_style_sheet_may_hold(make_facts):
    uri, _ = data_uri(make_facts().thumbnails(1))
    assert re.fullmatch(r"data:image/(png|webp|jpeg);base64,[A-Za-z0-9+/=]+", uri)
