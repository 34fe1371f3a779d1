"""The server: answers the person at this machine, and nobody else; pictures by row, decisions on the disk."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.review.small_run import CLASSES, write_images
from tests.settled import settled

from linnaeus.atomic import write_text
from linnaeus.config.pages import read_page, to_yaml
from linnaeus.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from linnaeus.errors import ConfigError, RunNotFoundError
from linnaeus.review.features import open_folder, prepare_folder, prepare_run
from linnaeus.review.heat import heat_of
from linnaeus.review.server import create_app, listen
from linnaeus.review.session import Session, open_run
from linnaeus.run_folder import RunDir
from linnaeus.training.runtime import start_runtime

PORT, TOKEN = 8765, "a-secret"
OWN = {"Origin": f"http://127.0.0.1:{PORT}"}


def client_of(session: Session, *, key: bool = True) -> TestClient:
    app = create_app(session, token=TOKEN, port=PORT, style="p{}", favicon="<svg/>", heat=heat_of(session))
    client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
    if key:
        assert client.get(f"/?token={TOKEN}").status_code == 200
    return client


@pytest.fixture
def session(run_folder: Callable[..., Path]) -> Session:
    return open_run(run_folder())[0]


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_printed_address_leaves_a_cookie_of_this_site_and_nothing_works_without(session: Session) -> None:
    client = client_of(session, key=False)
    paths = ["/", "/api/state", "/api/queue/0", "/api/row/0", "/image/0", "/neighbour/0", "/heat/0", "/?token=guess"]
    for path in paths:
        assert client.get(path).status_code == 403, path
    assert client.post("/api/decide", json={"row": 0, "decision": "skip"}, headers=OWN).status_code == 403
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", f"evil.example:{PORT}", "127.0.0.1:1", "", "[::1]"])
def test_a_foreign_host_gets_nothing(host: str, session: Session) -> None:
    client = client_of(session)
    for path in ("/", "/api/state", "/image/0", "/review.js"):
        assert client.get(path, headers={"Host": host}).status_code == 403
    headers = {"Host": host, **OWN}
    assert client.post("/api/decide", json={"row": 0, "decision": "skip"}, headers=headers).status_code == 403
    assert len(session.decisions) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {**OWN, "Sec-Fetch-Site": "cross-site"},
        {**OWN, "Sec-Fetch-Site": "same-site"},
        {},
    ],
)
def test_a_page_of_another_origin_changes_nothing(headers: dict[str, str], session: Session) -> None:
    client = client_of(session)
    assert client.post("/api/decide", json={"row": 0, "decision": "skip"}, headers=headers).status_code == 403
    assert client.post("/api/undo", json={}, headers=headers).status_code == 403
    assert not session.decisions.path.exists()
    if headers:
        assert client.get("/api/state", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path", ["0/../1", "..%2f..%2fetc%2fpasswd", "-1", "48", "1e3", "%2e%2e", "0?x=/etc/passwd%00"]
)
def test_images_are_rows_and_nothing_else(path: str, session: Session) -> None:
    client = client_of(session)
    for kind in ("image", "neighbour", "heat", "api/row"):
        answer = client.get(f"/{kind}/{path}")
        assert answer.status_code in (200, 404, 422)
        if answer.status_code == 200:
            assert path[0] == "0"
    assert client.get("/page/review.html").status_code == 404
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 404


def test_the_picture_of_a_row_is_that_image(session: Session) -> None:
    answer = client_of(session).get("/image/3")
    shown = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert np.array_equal(shown, np.asarray(Image.open(session.manifest.uris[3].as_py())))
    assert answer.headers["content-type"] == "image/webp"


def test_every_answer_says_what_the_page_may_load(session: Session) -> None:
    client = client_of(session)
    for path in ("/", "/review.js", "/api/state", "/image/0", "/image/999", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
    page = client.get("/").text
    assert "style=" not in page
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "https:" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"row": 0, "decision": "drop"}, 400),
        ({"row": 0, "decision": "label", "labels": ["bee"]}, 400),
        ({"row": 0, "decision": "relabel", "labels": ["bees"]}, 400),
        ({"row": 0, "decision": "relabel", "labels": []}, 400),
        ({"row": 0, "decision": "relabel", "labels": ["bee", "cow"]}, 400),
        ({"row": 48, "decision": "skip"}, 404),
        ({"row": -1, "decision": "skip"}, 422),
        ({"row": 0, "decision": "skip", "path": "/etc/passwd"}, 422),
        ({"decision": "skip"}, 422),
        ([], 422),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(body: object, status: int, session: Session) -> None:
    client = client_of(session)
    assert client.post("/api/decide", json=body, headers=OWN).status_code == status
    assert not session.decisions.path.exists()


def test_too_much_is_refused(session: Session) -> None:
    client = client_of(session)
    body = json.dumps({"row": 0, "decision": "skip", "labels": ["x" * 1_100_000]})
    headers = {**OWN, "Content-Type": "application/json"}
    assert client.post("/api/decide", content=body, headers=headers).status_code == 403


def test_decisions_are_on_the_disk_at_once_and_undone_one_by_one(session: Session) -> None:
    client = client_of(session)
    file = session.decisions.path

    def decide(row: int, decision: str, *labels: str) -> None:
        body = {"row": row, "decision": decision, "labels": list(labels)}
        assert client.post("/api/decide", json=body, headers=OWN).status_code == 200

    decide(0, "relabel", "cow")
    decide(1, "exclude")
    decide(0, "relabel", "dog")
    assert [(r["id"], r["decision"], r["labels"]) for r in rows_in(file)] == [
        ("photos/01.png", "exclude", ""),
        ("photos/00.png", "relabel", "dog"),
    ]
    assert rows_in(file)[0]["given"] == CLASSES[1]
    assert client.post("/api/undo", json={}, headers=OWN).json() == {"row": 0, "id": "photos/00.png", "decided": 2}
    assert rows_in(file)[1]["labels"] == "cow"
    assert client.get("/api/row/0").json()["decision"] == {"decision": "relabel", "labels": "cow"}
    for row in (1, 0):
        assert client.post("/api/undo", json={}, headers=OWN).json()["row"] == row
    assert client.post("/api/undo", json={}, headers=OWN).json()["row"] is None
    assert rows_in(file) == []


def test_a_session_goes_on_where_another_ended(run_folder: Callable[..., Path]) -> None:
    run = run_folder()
    first = open_run(run)[0]
    first.decide(0, "exclude", [])
    first.decide(2, "relabel", ["dog"])
    again = open_run(run)[0]
    assert len(again.decisions) == 2
    assert client_of(again).post("/api/undo", json={}, headers=OWN).json()["id"] == "photos/02.png"


def test_queues_hold_what_their_names_say(session: Session) -> None:
    client = client_of(session)
    state = client.get("/api/state").json()
    queues = {q["title"]: client.get(f"/api/queue/{k}").json()["rows"] for k, q in enumerate(state["queues"])}
    wrong = [row for row in range(48) if row % 4 == 0]
    assert set(queues["Suspected wrong labels"]) <= set(wrong)
    assert len(queues["Suspected wrong labels"]) >= 4
    assert set(queues["Most confident errors"]) == set(wrong)
    assert all(session.manifest.splits[row] in (TRAIN, VALIDATION) for row in queues["Most uncertain"])
    assert all(session.manifest.splits[row] == TEST for row in queues.get("Test errors", []))
    pairs = [q for q in state["queues"] if q["detail"]]
    assert sum(q["size"] for q in pairs) == len(wrong)
    assert client.get(f"/api/queue/{len(state['queues'])}").status_code == 404
    item = client.get(f"/api/row/{queues['Suspected wrong labels'][0]}").json()
    assert item["suggested"] == [CLASSES[0]]
    assert item["suggested"] != item["given"]


def test_copies_and_neighbours_come_while_the_page_is_open(run_folder: Callable[..., Path]) -> None:
    run = run_folder()
    manifest = Manifest.load(RunDir(run).manifest)
    Path(manifest.uris[5].as_py()).write_bytes(Path(manifest.uris[4].as_py()).read_bytes())
    session, _, config = open_run(run)
    assert session.describe(4)["neighbours"] == []
    session.prepare(lambda own: prepare_run(own, config, start_runtime(config.runtime))).join()
    assert session.preparing == ""
    assert session.queues[1].title == "Duplicates with different labels"
    assert session.queues[1].rows.tolist() == [4, 5]
    near = session.describe(4)["neighbours"]
    assert (near[0]["row"], near[0]["similarity"]) == (5, pytest.approx(1.0, abs=1e-3))
    assert near[0]["labels"] == session.given(5)
    assert all(manifest.splits[n["row"]] in (TRAIN, VALIDATION) for n in near)
    similarities = [n["similarity"] for n in near]
    assert similarities == sorted(similarities, reverse=True)
    assert session.describe(3)["neighbours"], "a test image has neighbours too"


def test_what_takes_long_ends_when_it_is_told_to(session: Session) -> None:
    steps: list[int] = []

    def work(own: Session) -> None:
        with own.progress.task("features", total=10**6, unit="images") as task:
            for step in range(10**6):
                steps.append(step)
                task.advance()
                time.sleep(0.001)

    thread = session.prepare(work)
    while not steps:
        time.sleep(0.001)
    session.end()
    assert not thread.is_alive()
    assert len(steps) < 10**6 and session.neighbours is None


def test_heat_maps_are_pictures_of_what_the_network_sees(session: Session) -> None:
    answer = client_of(session).get("/heat/0")
    assert Image.open(io.BytesIO(answer.content)).size == (16, 16)


def test_several_labels_are_lists(run_folder: Callable[..., Path]) -> None:
    session = open_run(run_folder(several=True))[0]
    client = client_of(session)
    assert client.get("/api/state").json()["several"]
    row = int(session.queues[0].rows[0])
    item = client.get(f"/api/row/{row}").json()
    assert {doubt["kind"] for doubt in item["doubts"]} <= {"missing", "extra"}
    assert CLASSES[0] in item["suggested"] or item["given"][0] not in item["suggested"]
    assert {client.get(f"/heat/{k}").status_code for k in range(6)} == {200}, "whether it gives one label, many or none"
    body = {"row": row, "decision": "relabel", "labels": ["dog", "bee", "dog"]}
    assert client.post("/api/decide", json=body, headers=OWN).status_code == 200
    assert json.loads(rows_in(session.decisions.path)[0]["labels"]) == ["bee", "dog"]
    body = {"row": row + 1, "decision": "relabel", "labels": []}
    assert client.post("/api/decide", json=body, headers=OWN).status_code == 200


@pytest.mark.parametrize("several", [False, True])
def test_new_images_are_offered_once_each_and_get_labels(
    several: bool, run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = run_folder(several=several)
    new = write_images(tmp_path / "new", 9, seed=5)
    new[3].write_bytes(b"no image")
    reviewed, folder, config = open_run(run)
    runtime = start_runtime(config.runtime)
    session, features = open_folder(tmp_path / "new", folder, config, reviewed, runtime=runtime)
    session.prepare(lambda own: prepare_folder(own, reviewed, config, runtime, features=features)).join()
    assert session.preparing == ""
    assert sorted(session.queues[0].rows.tolist()) == [0, 1, 2, 4, 5, 6, 7, 8]
    client = client_of(session)
    item = client.get("/api/row/0").json()
    assert (item["given"], item["id"]) == ([], str(new[0]))
    assert len(item["neighbours"]) > 4
    assert client.get(f"/neighbour/{item['neighbours'][0]['row']}").status_code == 200
    body = {"row": 0, "decision": "label", "labels": ["cow"]}
    assert client.post("/api/decide", json=body, headers=OWN).status_code == 200
    assert client.post("/api/decide", json={"row": 1, "decision": "accept"}, headers=OWN).status_code == 400
    written = rows_in(RunDir(run).new_labels)
    assert (written[0]["id"], written[0]["labels"]) == (str(new[0]), '["cow"]' if several else "cow")
    assert not RunDir(run).corrections.exists()


def test_a_run_that_is_not_finished_cannot_be_reviewed(run_folder: Callable[..., Path], tmp_path: Path) -> None:
    run = run_folder()
    RunDir(run).predictions.unlink()
    with pytest.raises(RunNotFoundError, match="linnaeus resume"):
        open_run(run)
    with pytest.raises(RunNotFoundError, match="no run"):
        open_run(tmp_path)


def test_the_next_command_repeats_the_run_with_all_corrections(run_folder: Callable[..., Path]) -> None:
    run = run_folder()
    page = read_page(RunDir(run).config)
    page["data"] |= {"source": "my photos", "corrections": ["one.csv"]}
    write_text(RunDir(run).config, to_yaml(settled(page)))
    assert open_run(run)[0].command == (
        f"linnaeus train 'my photos' --recipe {run}/config.yaml --corrections one.csv "
        f"--corrections {run}/corrections.csv"
    )


def test_a_port_that_is_taken_is_said() -> None:
    with listen(0) as first:
        assert first.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match="cannot be used"):
            listen(first.getsockname()[1])


def test_the_page_asks_for_nothing_that_the_server_does_not_have(session: Session) -> None:
    client = client_of(session)
    script = client.get("/review.js").text
    for path in ("/review.css", "/review.js", "/favicon.svg"):
        assert client.get(path).status_code == 200
    assert "innerHTML" not in script
    assert "eval(" not in script
