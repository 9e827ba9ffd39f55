"""The structure of the code: which modules import which, and that imports are lazy."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Set
from pathlib import Path

import pytest
from backends import FRAMEWORKS
from helpers import ROOT, run_python

import gln

NETWORKS = [ROOT / f"gln_{name}.py" for name in FRAMEWORKS]
AROUND = sorted((ROOT / "gln").rglob("*.py"))
ENGINE = ROOT / "gln" / "engine"
APPS = ROOT / "gln" / "apps"
# The folders of the engine, in the order in which a sample meets them; the files beside them come first.
ROOMS = ["", "networks", "preprocessing", "base_models", "ensemble", "model"]
ROOMS += ["streaming", "novelty", "tabular", "class_density"]
ON_TOP = [ROOT / "test_mnist.py", *sorted((ROOT / "benchmarks").glob("*.py"))]


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def imports(file: Path) -> Set[str]:
    """The modules of this project that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found.update(names)
    return found & {module(file) for file in [*NETWORKS, *AROUND, *ON_TOP]}


def test_networks_import_nothing_of_this_project():
    assert {module(file): imports(file) for file in NETWORKS} == {module(file): set() for file in NETWORKS}


def test_no_module_imports_from_a_higher_level():
    for file in AROUND:
        assert imports(file) <= {module(file) for file in [*NETWORKS, *AROUND]}, file


DOORS = {
    *(
        "averaging",
        "backends",
        "bandits",
        "dask",
        "explaining",
        "features",
        "keras",
        "monitoring",
        "novelty",
        "off_policy",
        "onnx",
    ),
    *("plots", "rates", "river", "saving", "sklearn", "testing", "torch_layer", "warm_up"),
}


def test_the_package_lists_what_users_import_and_one_folder_for_the_engine():
    listed = {path.stem for path in (ROOT / "gln").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / "gln").glob("*/*.py")}
    assert (listed, folders) == (DOORS, {"apps", "engine", "mnist"})
    for file in ENGINE.rglob("*.py"):  # which imports nothing else that users import
        assert imports(file) & {f"gln.{door}" for door in DOORS} <= {"gln.backends", "gln.rates"}, file


def room(name: str) -> str:
    """The folder of the engine that a module is in; "" for the files beside the folders."""
    _, _, *folders = name.split(".")
    return folders[0] if folders and folders[0] in ROOMS else ""


def test_a_folder_of_the_engine_imports_only_from_those_above_it():
    assert {path.parent.name for path in ENGINE.glob("*/*.py")} == set(ROOMS[1:])
    arrows = {
        (room(module(file)), room(name))
        for file in ENGINE.rglob("*.py")
        for name in imports(file)
        if name.startswith("gln.engine")
    }
    assert ("model", "ensemble") in arrows
    for above, below in arrows:
        assert ROOMS.index(below) <= ROOMS.index(above), f"{above} imports from {below}"
        assert above == below or below not in ROOMS[-2:], f"{above} imports from {below}"


def test_each_folder_of_the_engine_has_its_tests_in_one_of_the_same_name():
    assert {path.parent.name for path in (ROOT / "tests" / "engine").glob("*/test_*.py")} == set(ROOMS[1:])


def test_rooms_of_the_commands_import_only_from_those_above_them():
    rooms = ["stream/formats", "stream", "bandit"]
    for index, room in enumerate(rooms):
        below = {module(file) for other in rooms[index + 1 :] for file in (APPS / other).glob("*.py")}
        for file in (APPS / room).glob("*.py"):
            assert not imports(file) & below, file


def test_nothing_imports_a_program():
    programs = {module(file) for file in APPS.rglob("*.py")}
    for file in (ROOT / "gln").rglob("*.py"):
        assert APPS in file.parents or not imports(file) & programs, file


def test_no_circular_imports():
    arrows = {module(file): imports(file) - {module(file)} for file in [*AROUND, *ON_TOP]}
    while arrows:
        free = [name for name, below in arrows.items() if not below & arrows.keys()]
        assert free, arrows
        for name in free:
            del arrows[name]


@pytest.mark.slow
def test_private_names_of_networks_are_used_nowhere_else():
    """No other file uses a private name of a network or of its module."""
    hidden = re.compile(r"_(?!_)\w+")
    names: set[str] = set()
    for file in NETWORKS:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for kind in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in ("GLN", "Network")):
            names |= {node.name for node in ast.walk(kind) if isinstance(node, ast.FunctionDef)}
            names |= {node.attr for node in ast.walk(kind) if isinstance(node, ast.Attribute)}
    hidden_names = {name for name in names if hidden.fullmatch(name)} - {"_replace"}  # `_replace` is public
    assert {"_stream", "_draw"} <= hidden_names
    for file in [*AROUND, *ON_TOP]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and hidden.fullmatch(node.attr):
                receiver = ast.unparse(node.value)
                if receiver == "self":
                    continue
                reaches = node.attr in hidden_names or receiver.startswith("gln_")
                assert not reaches, f"{file}:{node.lineno} {receiver}.{node.attr}"


def test_importing_the_package_is_cheap():
    loaded = run_python("import sys; before = set(sys.modules); import gln; print(*set(sys.modules) - before)")
    assert loaded.split() == ["gln"]


def test_the_estimators_for_tables_are_imported_from_the_package_when_they_are_used():
    from gln import GLNClassifier, GLNRegressor

    assert [GLNClassifier.__module__, GLNRegressor.__module__] == ["gln.sklearn"] * 2
    assert {"GLNClassifier", "GLNRegressor", "__version__"} <= set(dir(gln))
    with pytest.raises(AttributeError, match=r"^module 'gln' has no attribute 'GLNClusterer'$"):
        _ = gln.GLNClusterer  # type: ignore[attr-defined]


def test_keras_with_another_backend_is_refused_at_import():
    """With stand-ins for Keras and TensorFlow, whose imports take six seconds."""
    said = run_python("""if True:
        import sys, types
        keras = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
        sys.modules |= {"keras": keras, "tensorflow": types.ModuleType("tensorflow")}
        try:
            import gln.keras
        except ImportError as error:
            print(error)
    """)
    assert "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported; got 'jax'" in said


MISSING = [("gln.keras", "keras", "tensorflow"), ("gln.river", "river", "river"), ("gln.torch_layer", "torch", "torch")]


def test_what_is_not_installed_is_named_with_its_package():
    said = run_python(f"""if True:
        import importlib, sys
        for name, missing, _ in {MISSING}:
            sys.modules[missing] = None
            try:
                importlib.import_module(name)
            except ImportError as error:
                print(error)
    """)
    expected = "".join(rf"{name} needs \w+: pip install {package}\n" for name, _, package in MISSING)
    assert re.fullmatch(expected, said)


NAME = re.compile(r"gated[-_]?linear[-_]?networks?|\bgln\b", re.IGNORECASE)
ADDRESS = re.compile(r"(?:\w+://|www\.|(?:git@)?git(?:hub|lab)\.com|pypi\.org)[^\s\"'`)>]*|[\w.+-]+@[\w-]+(?:\.\w+)+")
INSTALLED = re.compile(r"pip install ([^\n&`]*)")
# Addresses and commands that would fetch from whoever registers our name; a path to a wheel does not.
INVENTED = """
git clone https://github.com/gated-linear-networks/gated-linear-networks
security@gated-linear-networks.org, https://gln.readthedocs.io and pypi.org/project/gated_linear_networks
pip install 'gated-linear-networks[dask]'
pip install --no-index --find-links wheels wheels/gated_linear_networks-*.whl
https://arxiv.org/abs/1910.01526 and pip install "./gated-linear-networks[dask]"
"""


def under_our_name(text: str) -> list[str]:
    """Addresses that hold the project's name, and its name where pip would look it up."""
    found = [address for address in ADDRESS.findall(text) if NAME.search(address)]
    words = [word.strip("\"'\\") for arguments in INSTALLED.findall(text) for word in arguments.split()]
    return found + [word for word in words if NAME.match(word)]


def test_no_file_names_an_address_under_our_name_that_nobody_has_registered():
    assert len(under_our_name(INVENTED)) == 5
    [home] = re.findall(r"^Address: (.*)$", (ROOT / "RELEASING.md").read_text(encoding="utf-8"), re.MULTILINE)
    files = [*ROOT.glob("*.*"), *ROOT.glob(".*/*")]
    for folder in ("benchmarks", "docs", "examples", "gln", "stubs", "tests", "tools"):
        files += (ROOT / folder).rglob("*.*")
    kinds = {".cff", ".html", ".ipynb", ".md", ".py", ".pyi", ".toml", ".yaml", ".yml"}
    texts = [file for file in files if file.suffix in kinds or file.parent.name == ".ci"]
    assert len(texts) > 300
    for file in texts:
        if file != Path(__file__):
            found = under_our_name(file.read_text(encoding="utf-8"))
            assert [name for name in found if not name.startswith(home)] == [], file
