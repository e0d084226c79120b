"""Imports point downward only, and `import fastsoftmax` loads nothing heavy."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastsoftmax"
CSRC = ROOT / "csrc"

# The floors of the house, from the ground: a module may import those of lower floors only.
# `datasets` is one module here. It stands beside the numeric floors, and knows none of them.
FLOORS = (
    {"_build_info", "files", "forks", "scalars", "terminal", "threads"},
    {"arrays", "optim"},
    {"labels", "loss"},
    {"checks"},
    {"_numba_cache", "_numba_kernels", "_numba_team"},
    {"_cython", "_numba", "_numpy"},
    {"backends"},
    {"config", "datasets", "functional", "threadpool"},
    {"autograd", "history", "logits", "model"},
    {"fused", "sgd"},
    {"linear"},
    {"plots", "torch", "weighting"},
    {"trainer"},
    {"cli"},
    {"__init__"},
)
BESIDE = {"datasets": {"datasets", "files"}}

# The same for C: what is compiled once, at the baseline, and the headers of ours that it may
# include. All other files are the kernels, compiled for each instruction set: a function of theirs
# in an object of the baseline would be an illegal instruction somewhere.
DRIVER = {
    "fastsoftmax.h": set(),
    "cores.h": set(),
    "cores.c": {"cores.h"},
    "threads.h": {"fastsoftmax.h"},
    "chunks.h": {"fastsoftmax.h"},
    "dispatch.c": {"fastsoftmax.h"},
    "threads.c": {"cores.h", "threads.h"},
    "memory.h": set(),
    "memory.c": {"fastsoftmax.h", "memory.h"},
    "pass.h": {"chunks.h", "fastsoftmax.h", "threads.h"},
    "pass.c": {"memory.h", "pass.h"},
    "steps.h": {"pass.h"},
    "steps.c": {"cores.h", "steps.h"},
    "epoch.c": {"cores.h", "memory.h", "steps.h"},
}

HEAVY = {
    "matplotlib",
    "mpi4py",
    "numba",
    "pandas",
    "platformdirs",
    "pooch",
    "requests",
    "safetensors",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "torch",
    "tqdm",
}


def sources():
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx"))


def floor_of(module):
    for height, floor in enumerate(FLOORS):
        if module in floor:
            return height
    raise AssertionError(f"{module} has no floor: give it one in FLOORS")


def module_of(path):
    """The first part of its name within the package."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def python_of(path):
    """Of a .pyx file, which `ast` cannot read, the import statements of its left margin."""
    text = path.read_text()
    if path.suffix == ".py":
        return ast.parse(text)
    statements = re.findall(r"^(?:from \S+ import .+|import .+)$", text, re.MULTILINE)
    return ast.parse("\n".join(statements))


def imports_of(path):
    """The modules that it imports from the package, be it inside a function."""
    here = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(python_of(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["fastsoftmax", *here][: len(here) + 2 - node.level] if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        for parts in names:
            if parts[0] == "fastsoftmax":
                target = parts[1] if len(parts) > 1 else "__init__"
                is_module = (PACKAGE / target).is_dir() or list(PACKAGE.glob(f"{target}.*"))
                # a name that __init__ itself defines; _build_info is there once built
                if not is_module and target != "_build_info":
                    target = "__init__"
                yield target


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downward(path):
    module = module_of(path)
    for target in imports_of(path):
        if module in BESIDE:
            assert target in BESIDE[module]
        else:
            assert floor_of(target) < floor_of(module), f"{module} imports {target}"


def test_imports_are_found():
    """So that the test above looks at something."""
    found = {module_of(path): set(imports_of(path)) for path in sources()}
    assert found["_cython"] == {"checks", "loss", "threads"}
    assert found["_numpy"] == {"checks", "loss", "optim", "scalars", "threads"}
    assert {"datasets", "model"} <= found["trainer"]
    assert {"backends", "functional"} <= found["__init__"]


def c_sources():
    return {path.name: path.read_text() for path in CSRC.iterdir() if path.suffix in (".c", ".h")}


def test_includes_point_downward():
    includes = {
        name: set(re.findall(r'#\s*include "(.+)"', text)) for name, text in c_sources().items()
    }
    kernels = includes.keys() - DRIVER.keys()
    assert {"exp.h", "kernels.c", "vec.h"} <= kernels
    assert includes["kernels.c"] and includes["epoch.c"]
    for name in DRIVER:
        assert includes[name] <= DRIVER[name], name
    for name in kernels:
        assert includes[name] <= kernels | {"fastsoftmax.h"}, name
    tuple(TopologicalSorter(includes).static_order())  # raises CycleError


def test_c_neither_prints_nor_exits():
    for name, text in c_sources().items():
        assert not re.search(r"#\s*include <(Python|stdio)\.h>", text), name
        assert not re.search(r"\b(printf|exit|abort)\s*\(", text), name


def test_cython_sees_one_header():
    text = (PACKAGE / "_cython.pyx").read_text()
    assert re.findall(r'extern from "(.+)"', text) == ["fastsoftmax.h"]


def test_only_vec_h_asks_for_the_isa():
    for name, text in c_sources().items():
        conditions = re.findall(r"^\s*#\s*(?:el)?if.*\bFS_ISA_\w+", text, re.MULTILINE)
        assert bool(conditions) == (name == "vec.h"), name


def test_import_is_light(run_python):
    code = "import sys, fastsoftmax; print(*{name.split('.')[0] for name in sys.modules})"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"fastsoftmax", "numpy"} <= loaded
    assert not loaded & HEAVY
