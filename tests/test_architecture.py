"""The rooms of the house: imports go only to lower layers, and the big libraries each have one door."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import linnaeus

SOURCE = Path(linnaeus.__file__).parent
LAYERS = [
    {"errors", "progress", "machine", "version", "atomic", "run_folder", "config"},
    {"data", "metrics"},
    {"augment", "models", "losses", "statistics"},
    {"predictions", "bundle"},
    {"training", "judging", "analysis", "deployment"},
    {"planning", "report", "review"},
    {"run"},
    {"runs"},
    {"api"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FOUNDATIONS = 0  # of one file each, and with few words; they may meet, but not in a circle
WEB = ("fastapi", "uvicorn", "starlette", "flask", "aiohttp", "http.server", "socketserver")


def imported(source: str) -> Iterator[str]:
    """Dotted names of everything a module imports, wherever in it; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(path: str, source: str) -> list[str]:
    """What the module at `path`, relative to the package, imports and should not."""
    room = Path(path).parts[0].removesuffix(".py")
    if room not in LEVEL:
        return [f"{path}: '{room}' has no layer"]
    found = []
    for name in imported(source):
        parts = [*name.split("."), ""]
        if parts[0] == "linnaeus":
            other = parts[1] if parts[1] in LEVEL else "__init__"
            lower = LEVEL[other] < LEVEL[room]
            if not (lower or other == room or LEVEL[other] == LEVEL[room] == FOUNDATIONS):
                found.append(f"{path} (layer {LEVEL[room]}) imports {name} (layer {LEVEL[other]})")
        fabric = parts[0] == "lightning_fabric" and path != "training/runtime.py"
        timm = parts[0] == "timm" and parts[1] in ("", "models", "create_model") and path != "models/backbones.py"
        web = name.startswith(WEB) and path != "deployment/server.py" and room != "review"
        pickle = parts[0] in ("pickle", "dill", "joblib", "cloudpickle")
        if fabric or timm or web or pickle:
            found.append(f"{path} imports {name}")
    return found


def test_every_module_imports_only_what_its_room_may() -> None:
    modules = sorted(SOURCE.rglob("*.py"))
    assert len(modules) > 20
    found = [
        line
        for module in modules
        for line in violations(module.relative_to(SOURCE).as_posix(), module.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/splits/stratified.py", "from linnaeus.training.loop import fit"),
        ("data/splits/stratified.py", "def f():\n    import linnaeus.predictions"),
        ("data/splits/stratified.py", "from linnaeus.run.fit import fit"),
        ("data/splits/stratified.py", "import linnaeus"),
        ("data/splits/stratified.py", "from linnaeus.metrics.classification import accuracy_score"),
        ("bundle/files.py", "from linnaeus.predictions import TTA"),
        ("run/fit.py", "from linnaeus.runs.ensemble import combine"),
        ("cli/train.py", "import linnaeus.__main__"),
        ("training/loop.py", "from linnaeus.judging.scores import evaluate_table"),
        ("training/loop.py", "import lightning_fabric as fabric"),
        ("training/loop.py", "from lightning_fabric.utilities import seed"),
        ("models/zoo/new.py", "import timm"),
        ("models/zoo/new.py", "from timm import create_model"),
        ("models/zoo/new.py", "import timm.models.resnet"),
        ("report/page.py", "from fastapi import FastAPI"),
        ("report/page.py", "import http.server"),
        ("bundle/files.py", "import pickle"),
        ("attic/old.py", ""),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "data/splits/stratified.py",
            "import numpy\nfrom linnaeus.errors import SplitError\nfrom linnaeus.data.manifest import SPLITS",
        ),
        ("training/runtime.py", "import lightning_fabric"),
        ("models/backbones.py", "import timm"),
        ("augment/mix.py", "from timm.data.mixup import rand_bbox"),
        ("deployment/server.py", "from fastapi import FastAPI"),
        ("cli/train.py", "import linnaeus\nfrom linnaeus.run.fit import fit"),
    ],
)
def test_a_proper_import_is_left_alone(path: str, source: str) -> None:
    assert violations(path, source) == []


def circles(modules: dict[str, str]) -> list[str]:
    """Files, by dotted name with their source, that import each other in a circle; packages count as their __init__."""
    graph = {name: {other for other in _files(source, modules) if other != name} for name, source in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _files(source: str, modules: dict[str, str]) -> Iterator[str]:
    for name in imported(source):
        if name in modules:
            yield name
        elif name.rpartition(".")[0] in modules:
            yield name.rpartition(".")[0]


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {}
    for path in SOURCE.rglob("*.py"):
        parts = ("linnaeus", *path.relative_to(SOURCE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = path.read_text(encoding="utf-8")
    assert circles(modules) == []
    assert circles({"linnaeus.a": "from linnaeus.b import x", "linnaeus.b": "def f():\n    import linnaeus.a"})


def test_every_package_that_is_imported_is_declared() -> None:
    """matplotlib was there only because others bring it along."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for lines in lists for line in lines}
    providers, missing = packages_distributions(), set()
    for path in SOURCE.rglob("*.py"):
        for name in imported(path.read_text(encoding="utf-8")):
            package = name.partition(".")[0]
            if package in sys.stdlib_module_names or package in ("linnaeus", "__future__"):
                continue
            names = {each.lower().replace("_", "-") for each in providers.get(package, [package])}
            if not names & declared:
                missing.add(package)
    assert not missing


def test_no_module_is_collected_by_pytest() -> None:
    assert not [path for path in SOURCE.rglob("*.py") if path.stem.startswith("test_") or path.stem.endswith("_test")]
