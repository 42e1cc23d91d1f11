"""Files: what was read, what it looked like, and how it is named."""

from pathlib import Path

import pytest

from proxy.config.environment import Environment
from proxy.config.files import Files, packaged_policies, shown, stamps
from proxy.config.tree import plain
from proxy.errors import Problem


@pytest.fixture
def files() -> Files:
    return Files(Environment({"X": "1"}), [])


def test_a_file_is_read_with_its_references_followed(tmp_path: Path, files: Files) -> None:
    (tmp_path / "a.yaml").write_text("a: ${X}\n")
    read = files.read(tmp_path / "a.yaml")
    assert read is not None
    text, node = read
    assert text == "a: ${X}\n"
    assert plain(node) == {"a": "1"}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, files: Files) -> None:
    assert files.read(tmp_path / "gone.yaml") is None
    assert files.read(tmp_path) is None
    assert files.problems == [
        Problem(f"{tmp_path}/gone.yaml", 1, 1, "", "cannot be read: No such file or directory"),
        Problem(f"{tmp_path}", 1, 1, "", "is a directory: a file is needed here"),
    ]


def test_a_path_that_cannot_be_looked_at_is_not_taken_for_one_where_nothing_is(tmp_path: Path, files: Files) -> None:
    too_long, loop = tmp_path / ("x" * 300), tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    for path, why in ((too_long, "File name too long"), (loop, "Too many levels of symbolic links")):
        assert files.exists(path)
        assert files.read(path) is None
        assert files.problems.pop() == Problem(str(path), 1, 1, "", f"cannot be read: {why}")
    assert not files.exists(tmp_path / "no\0where")


def test_a_directory_in_the_place_of_a_file_is_not_taken_for_nothing(tmp_path: Path, files: Files) -> None:
    assert files.exists(tmp_path)


def test_stamps_tell_a_change_from_a_touch(tmp_path: Path, files: Files) -> None:
    path, gone = tmp_path / "a.yaml", tmp_path / "gone.yaml"
    path.write_text("a: 1\n")
    files.read(path)
    assert not files.exists(gone)
    assert stamps(files.stamps) == files.stamps
    path.write_text("a: 1\n")
    assert stamps(files.stamps) == files.stamps
    path.write_text("a: 2\n")
    assert stamps(files.stamps) != files.stamps
    path.write_text("a: 1\n")
    gone.write_text("")
    assert stamps(files.stamps) != files.stamps


def test_a_broken_file_has_a_stamp_so_that_its_repair_is_noticed(tmp_path: Path, files: Files) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [")
    assert files.read(path) is None
    assert files.stamps[path] is not None


def test_a_file_below_the_working_directory_is_named_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "policies" / "default.yaml") == "policies/default.yaml"
    assert shown(Path("/etc/orch/config.yaml")) == "/etc/orch/config.yaml"


def test_the_package_comes_with_policies() -> None:
    assert packaged_policies().is_file()
