"""The page in a real browser, by keyboard: what a person decides is kept, undone, found again, and used."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, expect
from tests.axe import needs_axe, violations
from tests.browsing import chromium, needs_chromium, patient
from tests.review.small_run import CLASSES, write_images

from linnaeus.cli.main import main
from linnaeus.data.manifest import Manifest
from linnaeus.report.page import make_environment
from linnaeus.review.features import open_folder, prepare_folder, prepare_run
from linnaeus.review.heat import heat_of
from linnaeus.review.server import create_app, listen
from linnaeus.review.session import Session, open_run
from linnaeus.run_folder import RunDir
from linnaeus.training.runtime import start_runtime

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Serve a session and open its page; what the page complains of, or asks others for, fails the test."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []
    pages: list[Page] = []
    complaints: list[str] = []

    def open_page(session: Session, *, scheme: Literal["light", "dark"] = "light", width: int = 1280) -> Page:
        listener = listen(0)
        port = listener.getsockname()[1]
        style = make_environment().get_template("report.css").render()
        app = create_app(session, token="t", port=port, style=style, favicon="<svg/>", heat=heat_of(session))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        servers.append((server, thread))
        page = patient(browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 860}, bypass_csp=True))
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        own = f"http://127.0.0.1:{port}"

        def watch(request: Request) -> None:
            if not request.url.startswith(own):
                complaints.append(request.url)

        page.on("request", watch)
        page.goto(f"{own}/?token=t")
        expect(page.locator("#question")).not_to_be_empty()
        return page

    yield open_page
    for page in pages:
        page.close()
    for server, thread in servers:
        server.should_exit = True
        thread.join()
    assert complaints == []


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def press(page: Page, key: str) -> None:
    """Press a key for the image shown, and wait for the next one (or the end)."""
    before = page.locator("#name").inner_text()
    page.keyboard.press(key)
    expect(page.locator("#name")).not_to_have_text(before)


def test_a_person_corrects_ten_labels_and_the_next_run_uses_them(
    visit: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--epochs", "1", "--set", "runtime.threads=1", "--set", "model.options.widths=[8, 8, 8]"]
    assert main(["train", "digits", "--out", "run", *quick]) == 0
    page = visit(open_run(Path("run"))[0])
    page.get_by_role("button", name="Most uncertain").click()
    expect(page.locator("#place")).to_contain_text("Most uncertain: 1 of")
    for key in ("1", "2", "x", "Enter", "3", "1", "Space", "2", "1", "4"):
        press(page, key)
    expect(page.locator("#decided")).to_have_text("10")
    last = rows_in(Path("run/corrections.csv"))[-1]["id"]
    page.keyboard.press("u")
    expect(page.locator("#name")).to_have_text(last)
    expect(page.locator("#decided")).to_have_text("9")
    press(page, "5")
    decided = rows_in(Path("run/corrections.csv"))
    assert len(decided) == 10
    assert [row["decision"] for row in decided].count("exclude") == 1
    assert decided[-1]["id"] == last

    page.reload()
    expect(page.locator("#decided")).to_have_text("10")
    page.get_by_role("button", name="Most uncertain").click()
    expect(page.locator("#place")).to_contain_text("Most uncertain: 11 of")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#name")).to_have_text(last)
    expect(page.locator("#reason")).to_contain_text("Decided already")
    assert rows_in(Path("run/corrections.csv")) == decided

    assert main(["train", "digits", "--out", "again", "--corrections", "run/corrections.csv", *quick]) == 0
    before, after = (Manifest.load(RunDir(Path(name)).manifest) for name in ("run", "again"))
    labels = {id: after.classes[k] for id, k in zip(after.ids.to_pylist(), after.targets, strict=True)}
    splits = dict(zip(before.ids.to_pylist(), before.splits.tolist(), strict=True))
    for row in decided:
        assert labels.get(row["id"]) == {"exclude": None, "skip": row["given"]}.get(row["decision"], row["labels"])
    assert all(splits[id] == split for id, split in zip(after.ids.to_pylist(), after.splits.tolist(), strict=True))
    assert any("relabelled, 1 excluded" in note for note in after.notes)


def test_several_labels_are_toggled_and_saved(visit: Callable[..., Page], run_folder: Callable[..., Path]) -> None:
    session = open_run(run_folder(several=True))[0]
    page = visit(session)
    row = int(session.queues[0].rows[0])
    shown = [entry["name"] for entry in session.describe(row)["likely"]]
    given = set(session.given(row))
    for digit in (1, 3):
        page.keyboard.press(str(digit))
    wanted = given ^ {shown[0], shown[2]}
    expect(page.locator("#accept")).to_contain_text("Save")
    press(page, "Enter")
    made = session.decisions.get(session.manifest.ids[row].as_py())
    assert made is not None
    assert (made.decision, set(json.loads(made.labels))) == ("relabel", wanted)


def test_names_are_text_and_the_search_finds_any_class(
    visit: Callable[..., Page], run_folder: Callable[..., Path]
) -> None:
    session = open_run(run_folder())[0]
    page = visit(session)
    expect(page.locator("#labels")).to_contain_text(CLASSES[0])
    assert page.locator("#labels script").count() == 0
    first = session.manifest.ids[int(session.queues[0].rows[0])].as_py()
    page.keyboard.press("/")
    page.keyboard.type("SCRIPT")
    expect(page.locator("#labels li")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#decided")).to_have_text("1")
    made = session.decisions.get(first)
    assert made is not None
    assert made.labels == CLASSES[0]


def test_file_names_are_text_whatever_they_hold(
    visit: Callable[..., Page], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    hostile = """'"><img src=x onerror=alert(1)> Übung „zwei“ שלום.png"""
    write_images(tmp_path / "new", 1)[0].rename(tmp_path / "new" / hostile)
    reviewed, folder, config = open_run(run_folder())
    session, _ = open_folder(tmp_path / "new", folder, config, reviewed, runtime=start_runtime(config.runtime))
    page = visit(session)
    expect(page.locator("#name")).to_contain_text(hostile)
    assert page.locator("#picture").evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 24
    press(page, "2")
    assert rows_in(folder.new_labels)[0]["id"].endswith(hostile)
    assert page.locator("img[src=x]").count() == 0


def test_neighbours_and_heat_map_appear_and_the_phone_has_no_sideways_scrolling(
    visit: Callable[..., Page], run_folder: Callable[..., Path]
) -> None:
    session, _, config = open_run(run_folder())
    session.prepare(lambda own: prepare_run(own, config, start_runtime(config.runtime)))
    page = visit(session)
    expect(page.locator("#near img")).to_have_count(12)
    page.keyboard.press("h")
    expect(page.locator("#picture")).to_have_attribute("src", f"/heat/{session.queues[0].rows[0]}")
    expect(page.locator("#heat")).to_have_attribute("aria-pressed", "true")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_new_images_are_labelled_by_keyboard(
    visit: Callable[..., Page], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    write_images(tmp_path / "new", 3, seed=7)
    reviewed, folder, config = open_run(run_folder())
    runtime = start_runtime(config.runtime)
    session, features = open_folder(tmp_path / "new", folder, config, reviewed, runtime=runtime)
    session.prepare(lambda own: prepare_folder(own, reviewed, config, runtime, features=features))
    page = visit(session)
    expect(page.locator("#question")).to_have_text("What does it show?")
    for key in ("2", "Enter"):
        press(page, key)
    page.keyboard.press("1")
    expect(page.locator("#nothing")).to_contain_text("--corrections")
    assert [row["decision"] for row in rows_in(folder.new_labels)] == ["label"] * 3


@needs_axe
@pytest.mark.parametrize("kind", ["one label", "several labels", "new images"])
def test_axe_finds_nothing(
    browser: Browser, visit: Callable[..., Page], run_folder: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    session, folder, config = open_run(run_folder(several=kind == "several labels"))
    if kind == "new images":
        write_images(tmp_path / "new", 3, seed=7)
        session, _ = open_folder(tmp_path / "new", folder, config, session, runtime=start_runtime(config.runtime))
    found = []
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        page = visit(session, scheme=scheme, width=width)
        found += [f"{scheme}, {width} px: {words}" for words in violations(page)]
    assert found == []


def test_a_server_that_is_gone_is_told(browser: Browser, run_folder: Callable[..., Path]) -> None:
    listener = listen(0)
    port = listener.getsockname()[1]
    app = create_app(open_run(run_folder())[0], token="t", port=port, style="", favicon="<svg/>")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    page = patient(browser.new_page())
    page.goto(f"http://127.0.0.1:{port}/?token=t")
    expect(page.locator("#question")).not_to_be_empty()
    server.should_exit = True
    thread.join()
    page.keyboard.press("x")
    expect(page.locator("#status")).to_contain_text("does not answer")
    expect(page.locator("#question")).not_to_be_empty()
    page.close()
