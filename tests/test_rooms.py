"""The house: imports point downward only, and what must stay light imports no torch."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import nedr

PACKAGE = Path(__file__).parents[1] / "nedr"

# What each room may import besides itself and the package's root (its version and its errors).
BELOW = {
    "pictures": set(),
    "model": set(),
    "inference": {"pictures"},
    "video": {"inference", "pictures"},
    "raster": {"inference", "pictures"},
    "evaluation": {"inference", "pictures"},
    "training": {"evaluation", "inference", "pictures", "model"},  # evaluation: to validate
    "album": {"video", "raster", "inference", "pictures"},
    "web": {"album", "video", "inference", "pictures"},
    "cli": {"web", "album", "video", "raster", "evaluation", "training", "inference", "pictures"},
}


class Import(NamedTuple):
    """One module that a file imports; `late`: inside a function, so that it runs at first use."""

    module: str
    late: bool


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[Import]:
    """Everything that a file imports, but what only type checkers read."""

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (Import(name if name in MODULES else str(node.module), late) for name in names)
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, late)

    yield from walk(ast.parse(path.read_text()), False)


def room(module: str) -> str:
    """The room of a module of ours; empty for the package's root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else ""


def test_the_root_holds_only_the_way_in():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(BELOW)


def test_imports_point_downward():
    upward = [
        f"{name} -> {found.module}"
        for name, path in MODULES.items()
        if (here := room(name))
        for found in imports(path)
        if found.module.startswith("nedr") and (there := room(found.module)) and there not in {here, *BELOW[here]}
    ]
    assert upward == []


def test_no_circle_between_files():
    graph = {
        name: {found.module for found in imports(path) if found.module in MODULES and found.module != name}
        for name, path in MODULES.items()
        if room(name)
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_each_room_says_what_it_is_for():
    for name in BELOW:
        tree = ast.parse((PACKAGE / name / "__init__.py").read_text())
        assert ast.get_docstring(tree), name
        assert len(tree.body) == 1, f"nedr/{name}/__init__.py does more than to describe the room"


def test_the_paper_imports_torch_only():
    allowed = {"torch", "math", "itertools", "collections", "dataclasses", "typing", "functools"}
    for name, path in MODULES.items():
        if room(name) == "model":
            outside = {found.module.split(".")[0] for found in imports(path) if room(found.module) != "model"}
            assert outside <= allowed, f"{name} imports {outside - allowed}"


def test_clearing_needs_no_torch():
    for name, path in MODULES.items():
        if room(name) in {"pictures", "inference", "video", "raster", "album", "web"}:
            found = {module.split(".")[0] for module, _ in imports(path)}
            assert not found & {"torch", "lightning_fabric", "safetensors"}, name


def test_the_package_shows_what_is_public_and_nothing_else():
    assert dir(nedr) == sorted([*nedr.__all__, "ray", "torch"])
    for name in nedr.__all__:
        assert getattr(nedr, name) is not None


def lengths():
    """The lines of every function, with its name."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or 0) - node.lineno + 1, f"{name}.{node.name}"


def test_a_function_fits_on_a_screen():
    found = sorted(lengths())
    assert [name for length, name in found if length > 45] == []
    assert found[len(found) // 2][0] <= 10
