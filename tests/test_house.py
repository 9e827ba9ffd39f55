"""The structure of the code: which modules import which, the length of functions, and that imports are lazy."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Set
from pathlib import Path

import pytest
from backends import FRAMEWORKS
from helpers import ROOT, run_python

import gln

NETWORKS = [ROOT / f"gln_{name}.py" for name in FRAMEWORKS]
AROUND = sorted((ROOT / "gln").rglob("*.py"))
ENGINE = ROOT / "gln" / "engine"
# The folders of the engine, in the order in which a sample meets them; the files beside them come first.
ROOMS = ["", "networks", "preprocessing", "novelty", "base_models", "ensemble", "model"]
ROOMS += ["tabular", "streaming", "class_density"]
ON_TOP = [ROOT / "test_mnist.py", *sorted((ROOT / "benchmarks").glob("*.py"))]
LONGEST = 40  # lines of a function, its docstring aside; a longer one says why in a comment that begins "Long"


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


def functions(file: Path) -> Iterator[tuple[str, int, str]]:
    """Name, lines without the docstring, and text of every function."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            docstring = node.body[0] if ast.get_docstring(node) else None
            of_docstring = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            source = "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
            yield f"{file.name}:{node.name}", node.end_lineno - node.lineno + 1 - of_docstring, source


def test_networks_import_nothing_of_this_project():
    assert {module(file): imports(file) for file in NETWORKS} == {module(file): set() for file in NETWORKS}


def test_no_module_imports_from_a_higher_level():
    for file in AROUND:
        assert imports(file) <= {module(file) for file in [*NETWORKS, *AROUND]}, file


DOORS = {
    *("backends", "bandits", "explaining", "features", "keras", "monitoring", "onnx", "plots", "rates", "river"),
    *("river_pipelines", "river_policy", "saving", "sharding", "sklearn", "testing", "torch_layer", "warm_up"),
}


def test_the_package_lists_what_users_import_and_one_folder_for_the_engine():
    listed = {path.stem for path in (ROOT / "gln").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / "gln").glob("*/*.py")}
    assert (listed, folders) == (DOORS, {"engine", "mnist", "page", "stream"})
    for file in ENGINE.rglob("*.py"):  # which imports nothing that users import, but for the backends by name
        assert imports(file) & {f"gln.{door}" for door in DOORS} <= {"gln.backends"}, file


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
        assert above == below or below not in ROOMS[-3:], f"{above} imports from {below}"


@pytest.mark.parametrize("file", [*NETWORKS, *AROUND], ids=module)
def test_what_a_module_exports_is_there(file):
    tree, defined, exported = ast.parse(file.read_text(encoding="utf-8")), set(), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = eval(ast.unparse(node.value))  # a list of names, some of them in tuples with a star
    assert set(exported) <= defined


@pytest.mark.slow
def test_what_a_network_can_do_is_in_its_protocol_and_not_asked_for():
    for file in AROUND:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr"
            assert not (asks and re.search("predict_sample|takes_sparse|tocs", ast.unparse(node))), file


def test_no_circular_imports():
    arrows = {module(file): imports(file) - {module(file)} for file in [*AROUND, *ON_TOP]}
    while arrows:
        free = [name for name, below in arrows.items() if not below & arrows.keys()]
        assert free, arrows
        for name in free:
            del arrows[name]


@pytest.mark.parametrize("file", [*NETWORKS, *AROUND, *ON_TOP], ids=module)
def test_functions_are_short(file):
    long = {name: lines for name, lines, text in functions(file) if lines > LONGEST and not re.search("# Long", text)}
    assert not long


@pytest.mark.slow
def test_private_names_of_networks_are_used_nowhere_else():
    """No other file uses a private name of a network or of its module."""
    hidden = re.compile(r"_(?!_)\w+")
    names: set[str] = set()
    for file in NETWORKS:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        own = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "GLN"]
        names |= {node.name for node in ast.walk(own[0]) if isinstance(node, ast.FunctionDef)}
        names |= {node.attr for node in ast.walk(own[0]) if isinstance(node, ast.Attribute)}
    hidden_names = {name for name in names if hidden.fullmatch(name)} - {"_replace"}  # `_replace` is public
    assert {"_stream", "_config"} <= hidden_names
    for file in [*AROUND, *ON_TOP]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and hidden.fullmatch(node.attr):
                receiver = ast.unparse(node.value)
                if receiver == "self" and file.name != "sharding.py":  # its class is a network
                    continue
                reaches = node.attr in hidden_names or receiver.startswith("gln_")
                assert not reaches, f"{file}:{node.lineno} {receiver}.{node.attr}"


def test_a_loss_is_named_by_its_record_output_and_residual_alone():
    named = re.compile(r"[\"'](log_loss|squared_error|quantile|variance)[\"']|\b(LOG_LOSS|QUANTILE|VARIANCE)\b")
    places = re.compile(
        r"^ +\"\w+\": Loss\(|^ +loss: str = |^ +loss: what|^LOG_LOSS, _, QUANTILE, VARIANCE = range|"
        r"^    (    )?(return|r =) .* if loss == |^    if loss == |^ +\"variance\", whose targets"
    )
    for file in NETWORKS:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if named.search(line)]
        assert [line for line in lines if not places.search(line)] == [], file
    # An estimator may choose a loss, and figures have the names of losses.
    of_figures = {ROOT / "gln" / "stream" / "figures.py", ROOT / "gln" / "monitoring.py"}
    for file in set(AROUND) - {ENGINE / "networks" / "schedules.py", *of_figures}:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if named.search(line)]
        assert [line for line in lines if not re.search(r"loss=\"|\"loss\": \"", line)] == [], file


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


MISSING = [("gln.keras", "keras", "tf"), ("gln.river", "river", "river"), ("gln.torch_layer", "torch", "torch")]


def test_what_is_not_installed_is_named_with_its_extra():
    said = run_python(f"""if True:
        import importlib, sys
        for name, missing, _ in {MISSING}:
            sys.modules[missing] = None
            try:
                importlib.import_module(name)
            except ImportError as error:
                print(error)
    """)
    expected = "".join(
        rf'{name} needs \w+: pip install "gated-linear-networks\[{extra}\]"\n' for name, _, extra in MISSING
    )
    assert re.fullmatch(expected, said)
