"""Looking at a pricing file: what is new is told once, and only when it has stopped moving."""

import os
from pathlib import Path

import pytest

from proxy.errors import PricingError
from proxy.pricing.watch import LOOKS_WITHOUT_END, GoodFile, PriceFile, RefusedFile, read_text

GOOD = "[models.m]\ninput = 1.00\n"
DEARER = "[models.m]\ninput = 2.00\n"
BROKEN = "[models.m]\ninput = -1.00\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pricing.toml"
    path.write_text(GOOD)
    return path


def looked(file: PriceFile, looks: int = 2) -> GoodFile | RefusedFile | None:
    """What the last of some looks saw."""
    found = None
    for _ in range(looks):
        found = file.look()
    return found


def known(path: Path) -> PriceFile:
    """A file that was told of."""
    file = PriceFile(path)
    assert isinstance(looked(file), GoodFile)
    assert looked(file) is None
    return file


def test_an_edit_is_told_once_by_the_second_look(path: Path) -> None:
    file = known(path)
    path.write_text(DEARER)
    assert file.look() is None
    found = file.look()
    assert isinstance(found, GoodFile)
    assert found.text == DEARER
    assert looked(file, 5) is None


def test_a_file_that_moves_is_left_alone(path: Path) -> None:
    file = known(path)
    for size in range(1, len(DEARER)):
        path.write_text(DEARER[:size])
        assert file.look() is None
    path.write_text(DEARER)
    found = looked(file)
    assert isinstance(found, GoodFile)
    assert found.text == DEARER


def test_a_last_line_without_end_may_go_on(path: Path) -> None:
    file = known(path)
    path.write_text(DEARER + "output = 1")
    assert looked(file, LOOKS_WITHOUT_END) is None
    path.write_text(DEARER + "output = 10.00\n")
    found = looked(file)
    assert isinstance(found, GoodFile)
    assert "10.00" in found.text


def test_a_last_line_without_end_is_taken_when_nothing_comes(path: Path) -> None:
    file = known(path)
    path.write_text(DEARER.rstrip())
    assert isinstance(looked(file, LOOKS_WITHOUT_END + 1), GoodFile)


def test_a_file_renamed_over_is_new_whatever_its_time_says(path: Path) -> None:
    file = known(path)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    other = path.with_suffix(".new")
    other.write_text(DEARER)
    os.utime(other, ns=times)
    other.rename(path)
    found = looked(file)
    assert isinstance(found, GoodFile)
    assert found.text == DEARER


def test_a_bad_edit_is_refused_with_its_place(path: Path) -> None:
    file = known(path)
    path.write_text(BROKEN)
    found = looked(file)
    assert isinstance(found, RefusedFile)
    assert found.message.startswith(f"{path}:2:1: models.m.input: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b'x = "\xff"', ":1:6: not UTF-8"),
        (b"a = 1\nb = \xc3\xa4\xff", ":2:6: not UTF-8"),
    ],
)
def test_what_is_no_text_of_prices_is_refused(path: Path, content: bytes, message: str) -> None:
    file = known(path)
    path.write_bytes(content)
    found = looked(file)
    assert isinstance(found, RefusedFile)
    assert message in found.message


def test_a_missing_file_is_told_and_found_again(path: Path) -> None:
    file = known(path)
    path.unlink()
    found = looked(file)
    assert isinstance(found, RefusedFile)
    assert "no such file" in found.message
    assert looked(file, 5) is None
    path.write_text(DEARER)
    assert isinstance(looked(file), GoodFile)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PricingError, match="can't be read"):
        read_text(tmp_path)


def test_what_is_forgotten_is_told_again(path: Path) -> None:
    file = known(path)
    file.forget()
    assert isinstance(file.look(), GoodFile)
    assert file.look() is None
