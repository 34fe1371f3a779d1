"""What the pages say exists: settings, files, commands with their options, recipes."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

import linnaeus
from linnaeus.cli.main import build_app
from linnaeus.config.pages import overlay, read_recipe, recipe_names, settings_from
from linnaeus.config.settings import parse_config
from linnaeus.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the pages are in the repository only")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?<![\w./`-])linnaeus[ ]+(?=[a-z-])([^\n]*)")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def code_lines(text: str) -> Iterator[str]:
    """Lines of fenced blocks other than Python, and code spans of the rest; a span may go over two lines."""
    for language, block in FENCE.findall(text):
        if language != "python":
            yield from block.splitlines()
    for span in SPAN.findall(FENCE.sub("", text)):
        yield " ".join(span.split())


def commands(text: str) -> Iterator[list[str]]:
    """The words after `linnaeus` of every command line on a page."""
    for line in code_lines(text):
        for part in re.split(r"&&|[;|>]", line):
            found = COMMAND.search(part)
            if found:
                yield shlex.split(found[1], comments=True)


def faults(tokens: list[str]) -> str:
    """What is wrong with a command line, or an empty string. The name of a command alone is no fault."""
    try:
        function, bound, _ = build_app().parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        known = len(tokens) == 1 and "requires an argument" in str(error)
        return "" if known else str(error)
    arguments = bound.arguments
    recipe = arguments.get("name") if function.__name__ == "recipes" else arguments.get("recipe")
    if recipe and recipe not in recipe_names() and not recipe.endswith(".yaml"):
        return f"There is no recipe {recipe}."
    return setting_faults(list(arguments.get("set_", ())), recipe)


def setting_faults(assignments: list[str], recipe: str | None = None) -> str:
    """What is wrong with `--set` assignments, on top of a recipe of the package or of the default one."""
    page = read_recipe(recipe if recipe in recipe_names() else "best-scratch-small")
    try:
        parse_config(overlay(page, settings_from(assignments)))
    except ConfigError as error:
        return str(error)
    return ""


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page to files that are not there, or to headings that these do not have."""
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        anchors = (
            (
                {slug(h) for h in HEADING.findall(target.read_text(encoding="utf-8"))}
                if target.suffix == ".md"
                else set()
            )
            if target.exists()
            else None
        )
        if anchors is None or (anchor and anchor not in anchors):
            found.append(link)
    return found


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.mark.parametrize(
    ("script", "function", "page"),
    [
        ("make_configuration.py", "configuration_page", "configuration.md"),
        ("make_audit.py", "audit_page", "audit-json.md"),
        ("make_evaluation.py", "evaluation_page", "evaluation-json.md"),
    ],
)
def test_a_page_written_from_docstrings_is_what_they_say(
    monkeypatch: pytest.MonkeyPatch, script: str, function: str, page: str
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))  # where Python finds what such a script imports
    write = runpy.run_path(str(ROOT / "docs" / script))[function]
    committed = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert committed == write(), f"write it again: python docs/{script}"


def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_every_command_line_is_one_that_the_program_takes(page: Path) -> None:
    found = [(tokens, faults(tokens)) for tokens in commands(page.read_text(encoding="utf-8"))]
    assert [item for item in found if item[1]] == []


def test_every_setting_shown_exists(page: Path) -> None:
    assignments = re.findall(r"--set ('[^']+'|[^\s`']+)", page.read_text(encoding="utf-8"))
    shown = [text.strip("'") for text in assignments if not re.search(r"VALUE|section\.field", text)]
    assert [fault for text in shown if (fault := setting_faults([text]))] == []


def test_every_recipe_named_exists(page: Path) -> None:
    names = re.findall(r"--recipe ([\w/.-]+)|recipes show ([\w-]+)", page.read_text(encoding="utf-8"))
    named = {first or second for first, second in names} - {"NAME"}
    assert [name for name in named if name not in recipe_names() and not name.endswith(".yaml")] == []


def test_every_file_named_exists(page: Path) -> None:
    spans = SPAN.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    named = [span for span in spans if re.fullmatch(r"(src|tests|docs|benchmarks)/[a-z\d_./-]*", span)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_of_the_python_api_exists(page: Path) -> None:
    used = set(re.findall(r"\blinnaeus\.(\w+)\(", page.read_text(encoding="utf-8")))
    assert used - set(linnaeus.__all__) == set()


def test_the_readme_gives_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\npip install uv && uv run linnaeus train digits\n" in text
    assert "\npip install uv && uv run pytest\n" in text


def rooms_on_disk() -> set[str]:
    """Names below src/linnaeus of modules and folders, without those that every package has."""
    paths = (ROOT / "src" / "linnaeus").iterdir()
    everywhere = {"__init__.py", "__main__.py", "__pycache__", "py.typed", "version.py"}
    return {f"{path.name}/" if path.is_dir() else path.name for path in paths if path.name not in everywhere}


def test_the_tree_in_the_readme_is_the_one_on_disk() -> None:
    [tree] = [block for _, block in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "cli/" in block]
    lines = re.findall(r"^  (\S+(?: \S+)*)  ", tree, re.MULTILINE)
    assert {room for line in lines for room in line.split()} == rooms_on_disk() - {"__pycache__/"}


def test_the_rooms_of_the_architecture_page_are_on_their_layers() -> None:
    layers = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["LAYERS"]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    shown = {room: int(layer) for layer, rooms in rows.items() for room in SPAN.findall(rooms)}
    there = {name.removesuffix(".py").removesuffix("/") for name in rooms_on_disk()} | {"version"}
    assert shown == {room: layer for layer, rooms in enumerate(layers) for room in rooms if room in there}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("`linnaeus train photos/ --epohcs 3`", "Unknown option"),
        ("`linnaeus trian photos/`", "Unknown command"),
        ("```\nuv run linnaeus train x --epochs many\n```", "unable to convert"),
        ("`linnaeus train x --recipe c9`", "no recipe c9"),
        ("`linnaeus train x --set image.sise=3`", "no setting 'image.sise'"),
        ("`linnaeus predict\nruns/x`", "requires an argument"),
        ("`linnaeus recipes show c7 > mine.yaml`", "no recipe c7"),
    ],
)
def test_a_wrong_command_line_is_found(text: str, words: str) -> None:
    [tokens] = commands(text)
    assert words in faults(tokens)


@pytest.mark.parametrize(
    "text",
    [
        "`linnaeus train`",
        "`linnaeus --version`",
        "`linnaeus --install-completion`",
        "`linnaeus train x --set phases.0.lr=3e-4 --recipe c1 # faster`",
        "```\nlinnaeus recipes show c1 > mine.yaml\n```",
    ],
)
def test_a_proper_command_line_is_left_alone(text: str) -> None:
    [tokens] = commands(text)
    assert faults(tokens) == ""


def test_prose_paths_and_python_are_no_command_lines() -> None:
    text = "the linnaeus train command, `src/linnaeus/cli`, `import linnaeus`\n```python\nimport linnaeus\n```\n"
    assert list(commands(text)) == []


def test_a_link_to_nowhere_is_found() -> None:
    text = (
        "[a](nowhere.md) [b](configuration.md#nothing) [c](configuration.md#early_stopping) [d](https://example.org/x)"
    )
    assert broken_links(ROOT / "docs" / "x.md", text) == ["nowhere.md", "configuration.md#nothing"]
