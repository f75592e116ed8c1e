"""The image's build stage, run step by step in a clean directory, where no engine is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__
from tests.packaging.test_dockerfile import ALL

ROOT = Path(__file__).parents[2]
TARGET = "/opt/weighbridge"


def build_stage() -> list[tuple[str, str]]:
    ends = [number for number, (word, _) in enumerate(ALL) if word == "FROM"]
    return ALL[ends[0] + 1 : ends[1]]


def copy(words: list[str], folder: Path) -> None:
    *sources, target = words
    for source in sources:
        if (ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / target, ignore=ignore)
        else:
            shutil.copy(ROOT / source, folder / target)


@pytest.mark.xdist_group("install")
def test_build_stage_makes_a_program_that_starts(tmp_path: Path) -> None:
    folder, target = tmp_path / "source", tmp_path / "installed"
    folder.mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HOME"))},
    }
    for word, rest in build_stage():
        if word == "COPY":
            copy(rest.split(), folder)
        elif word == "RUN":
            # The installer's cache is left on here: the image must stay small, a test be quick.
            step = rest.replace(TARGET, str(target)).replace("--no-cache-dir ", "")
            ran = subprocess.run(
                ["/bin/sh", "-ec", step],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
    version = subprocess.run(
        [target / "bin" / "weighbridge", "--version"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout == f"weighbridge {__version__}\n"
