"""Imports point downward only, and `import fastsoftmax` loads nothing heavy."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastsoftmax"
CSRC = ROOT / "csrc"

# The floors of the house, from the ground. A module or package may import those of lower floors
# only; within a package no two modules may need each other. What is imported for the type checker
# alone is not counted: it loads nothing.
FLOORS = (
    {"_build_info", "files", "forks", "scalars", "terminal", "threads"},
    {"arrays", "json_values"},
    {"labels", "settings"},
    {"problem"},
    {"_seen"},
    {"checks"},
    {"door"},
    {"backends", "sources"},
    {"config", "datasets", "functional", "model_file", "threadpool"},
    {"model", "sgd"},
    {"plots", "torch"},
    {"training"},
    {"optim"},
    {"cli"},
    {"__init__"},
)
BESIDE = {"datasets": {"datasets", "files"}}  # it knows none of the numeric floors

# The same for C. driver/ is compiled once, at the baseline; kernels/ once per instruction set. A
# function of kernels/ in an object of the baseline would be an illegal instruction somewhere. So
# the two meet in kernels.h alone, which defines no function but for the arithmetic of indices.
C_MAY_INCLUDE = {
    "driver": {"driver", "fastsoftmax.h", "kernels.h"},
    "kernels": {"kernels", "fastsoftmax.h", "kernels.h"},
    "kernels.h": {"fastsoftmax.h"},
    "fastsoftmax.h": set(),
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
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxi"))


def floor_of(module):
    """The height of the module's first part."""
    for height, floor in enumerate(FLOORS):
        if module.partition(".")[0] in floor:
            return height
    raise AssertionError(f"{module} has no floor: give it one in FLOORS")


def module_of(path):
    """Its name within the package; of a package that of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def python_of(path):
    """Of a .pyx file, which `ast` cannot read, the import statements of its left margin."""
    text = path.read_text()
    if path.suffix == ".py":
        return ast.parse(text)
    statements = re.findall(r"^(?:from \S+ import .+|import .+)$", text, re.MULTILINE)
    return ast.parse("\n".join(statements))


def statements_of(node):
    """All nodes below `node`, but for what the type checker alone imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from statements_of(child)


def imports_of(path):
    """The modules that it imports from the package, be it inside a function."""
    modules = {module_of(source) for source in sources()} | {"_build_info"}
    here = path.relative_to(PACKAGE).parts[:-1]
    for node in statements_of(python_of(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["fastsoftmax", *here][: len(here) + 2 - node.level] if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        for first, *parts in names:
            if first == "fastsoftmax":
                while parts and ".".join(parts) not in modules:  # a name that a module defines
                    parts = parts[:-1]
                yield ".".join(parts) or "__init__"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downward(path):
    module = module_of(path)
    package = module.partition(".")[0]
    for target in imports_of(path):
        if target.partition(".")[0] == package:
            continue
        if package in BESIDE:
            assert target.partition(".")[0] in BESIDE[package]
        else:
            assert floor_of(target) < floor_of(module), f"{module} imports {target}"


def test_no_two_modules_need_each_other():
    needs = {module_of(path): set(imports_of(path)) - {module_of(path)} for path in sources()}
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError


def test_imports_are_found():
    """So that the tests above look at something."""
    found = {module_of(path): set(imports_of(path)) for path in sources()}
    assert {"problem"} <= found["backends.cython"]
    assert {"backends.chunks", "problem"} <= found["backends.numpy"]
    assert {"datasets", "model"} <= found["training.train"]
    assert {"backends", "functional"} <= found["__init__"]


def c_sources():
    """By their paths within csrc/."""
    paths = sorted(path for path in CSRC.rglob("*") if path.suffix in (".c", ".h"))
    return {path.relative_to(CSRC).as_posix(): path.read_text() for path in paths}


def c_includes():
    """Of each file those of ours that it includes: of its own folder, or else of csrc/."""
    sources = c_sources()
    includes = {}
    for name, text in sources.items():
        included = re.findall(r'#\s*include "(.+)"', text)
        beside = {header: str(Path(name).parent / header) for header in included}
        includes[name] = {
            beside[header] if beside[header] in sources else header for header in included
        }
        assert includes[name] <= sources.keys(), name
    return includes


def wing(name):
    """Its folder, or the file itself where it has none."""
    return name.partition("/")[0]


def test_includes_point_downward():
    includes = c_includes()
    assert {wing(name) for name in includes} == C_MAY_INCLUDE.keys()
    assert "kernels/exp.h" in includes["kernels/softmax.h"]  # so that it looks at something
    assert {"driver/steps.h"} == includes["driver/api.c"]
    for name, included in includes.items():
        assert {wing(other) for other in included} <= C_MAY_INCLUDE[wing(name)], name
    tuple(TopologicalSorter(includes).static_order())  # raises CycleError


def test_the_folder_tells_what_is_compiled_per_isa():
    """kernels/ has one file to compile, the others are its headers; driver/ is compiled once."""
    sources = {name for name in c_sources() if name.endswith(".c")}
    assert {name for name in sources if wing(name) == "kernels"} == {"kernels/table.c"}
    text = (CSRC / "meson.build").read_text()
    per_isa, once = text[text.index("foreach isa") :].split("endforeach")
    assert re.findall(r"'(\S+\.c)'", per_isa) == ["kernels/table.c"]
    assert set(re.findall(r"'(\S+\.c)'", once)) == sources - {"kernels/table.c"}


def test_kernels_are_static():
    """All but the table: a function that the linker shared would be an illegal instruction."""
    for name, text in c_sources().items():
        if wing(name) == "kernels":
            functions = re.findall(
                r"^(?!static|FS_INLINE|#|typedef|extern| |/|})\w.*\(.*", text, re.M
            )
            known = re.compile(r"^(OVER_ARRAY|FS_FOR_\w+|_Static_assert)\(")
            assert not [line for line in functions if not known.match(line)], name


def test_c_neither_prints_nor_exits():
    for name, text in c_sources().items():
        assert not re.search(r"#\s*include <(Python|stdio)\.h>", text), name
        assert not re.search(r"\b(printf|exit|abort)\s*\(", text), name


def test_cython_sees_one_header():
    text = (PACKAGE / "backends" / "cython.pyx").read_text()
    assert re.findall(r'extern from "(.+)"', text) == ["fastsoftmax.h"]


def test_only_vec_h_asks_for_the_isa():
    for name, text in c_sources().items():
        conditions = re.findall(r"^\s*#\s*(?:el)?if.*\bFS_ISA_\w+", text, re.MULTILINE)
        assert bool(conditions) == (name == "kernels/vec.h"), name


def test_import_is_light(run_python):
    code = "import sys, fastsoftmax; print(*{name.split('.')[0] for name in sys.modules})"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"fastsoftmax", "numpy"} <= loaded
    assert not loaded & HEAVY
