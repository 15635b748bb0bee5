"""`-o FILE`: which files are replaced or written to, and their owner and mode."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli.files.atomic import replacing, write_all
from tests.helpers.command_output import complaint
from tests.helpers.other_users import IS_ROOT
from tests.helpers.processes import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.geocli_process import Geocli

SOMEBODY, ELSEBODY = 54321, 54322
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root gives files away and becomes another user")


def replace(path: Path | str) -> None:
    with replacing(str(path)) as (descriptor, beside):
        write_all(descriptor, b"new")
        if beside != str(path):  # readers of the incomplete file need the same permissions
            assert stat.S_IMODE(os.stat(beside).st_mode) == stat.S_IMODE(os.fstat(descriptor).st_mode)


def rights_of(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def become(user: int, *groups: int) -> None:
    os.setgroups(groups)
    os.setgid(user)
    os.setuid(user)


# links


@pytest.mark.parametrize("target", ["other", "disk/other", "gone", "out"], ids=["file", "below", "nothing", "itself"])
def test_link_itself_is_replaced(tmp_path: Path, target: str) -> None:
    """A link to a regular file, to nothing or to itself is replaced by the file; its target stays as it was."""
    (tmp_path / "disk").mkdir()
    for path in (tmp_path / "other", tmp_path / "disk" / "other"):
        path.write_bytes(b"old")
    (tmp_path / "out").symlink_to(target)
    replace(tmp_path / "out")

    assert not (tmp_path / "out").is_symlink()
    assert b"new" == (tmp_path / "out").read_bytes()
    assert [b"old"] * 2 == [(tmp_path / "other").read_bytes(), (tmp_path / "disk" / "other").read_bytes()]
    assert {"disk", "other", "out"} == set(os.listdir(tmp_path))


def test_chain_of_links_is_replaced_at_its_beginning(tmp_path: Path) -> None:
    """Of links that point to each other, the named one is replaced by the file."""
    (tmp_path / "other").write_bytes(b"old")
    (tmp_path / "second").symlink_to("other")
    (tmp_path / "out").symlink_to("second")
    replace(tmp_path / "out")

    assert b"new" == (tmp_path / "out").read_bytes()
    assert ("other", b"old") == (os.readlink(tmp_path / "second"), (tmp_path / "other").read_bytes())


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o644), (0o400, 0o600)])
def test_file_that_replaces_a_link_is_not_wider_than_its_target(tmp_path: Path, before: int, after: int) -> None:
    """The mode of a private target is kept, and a link makes no file writable for others."""
    (tmp_path / "other").touch()
    (tmp_path / "other").chmod(before)
    (tmp_path / "out").symlink_to("other")
    replace(tmp_path / "out")

    assert after == stat.S_IMODE((tmp_path / "out").stat().st_mode)
    assert before == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_other_hard_link_is_unchanged(tmp_path: Path) -> None:
    """The other hard link of a replaced file keeps its content."""
    (tmp_path / "other").write_bytes(b"old")
    (tmp_path / "out").hardlink_to(tmp_path / "other")
    replace(tmp_path / "out")

    assert (b"new", b"old") == ((tmp_path / "out").read_bytes(), (tmp_path / "other").read_bytes())


def _read_fifo(path: Path) -> list[bytes]:
    result: list[bytes] = []
    reader = threading.Thread(target=lambda: result.append(path.read_bytes()), daemon=True)
    reader.start()
    replace(path.with_name("out"))
    reader.join(60)
    return result


@pytest.mark.parametrize("chain", [(), ("second",)], ids=["link", "link to a link"])
def test_link_to_a_pipe_is_written_to(tmp_path: Path, chain: tuple[str, ...]) -> None:
    """Files that are not regular are written to through links, which stay."""
    os.mkfifo(tmp_path / "pipe")
    for name, target in zip((*chain, "out"), ("pipe", *chain), strict=True):
        (tmp_path / name).symlink_to(target)

    assert [b"new"] == _read_fifo(tmp_path / "pipe")
    assert (tmp_path / "out").is_symlink()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_link_to_a_device_is_written_to(tmp_path: Path) -> None:
    """A device is written to, and errors have the name that the user gave."""
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "full").symlink_to("/dev/full")
    replace(tmp_path / "null")
    with pytest.raises(OSError, match="No space left") as caught:
        replace(tmp_path / "full")

    assert str(tmp_path / "full") == caught.value.filename
    assert {"null", "full"} == set(os.listdir(tmp_path))
    assert "/dev/null" == os.readlink(tmp_path / "null")


@pytest.mark.parametrize("name", ["out", "out/"])
def test_link_to_a_directory_is_an_error(tmp_path: Path, name: str) -> None:
    """A directory is neither replaced nor written to, also through a link; nor is a name that ends in a slash."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "out").symlink_to("directory")
    with pytest.raises(IsADirectoryError) as caught:
        replace(f"{tmp_path}/{name}")

    assert f"{tmp_path}/{name}" == caught.value.filename
    assert {"directory", "out"} == set(os.listdir(tmp_path))
    assert [] == os.listdir(tmp_path / "directory")


# the standard streams


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "{home}/link"])
@pytest.mark.parametrize("command", [("batch", "-f", "value"), ("stats", "-f", "json")])
def test_standard_output_of_any_kind_is_written_to(geocli: Geocli, name: str, command: tuple[str, ...]) -> None:
    """A shell's `>>` is appended to, a pipe is written to, and nothing in /dev is replaced."""
    home = Path(geocli.environ["HOME"])
    (home / "link").symlink_to("/dev/stdout")
    before = os.lstat("/dev/stdout").st_ino, os.readlink("/dev/stdout")
    (home / "out").write_bytes(b"before\n")
    arguments = [*geocli.command, *command, "-o", name.format(home=home)]
    with (home / "out").open("ab") as out:
        subprocess.run(arguments, input=b"8.8.8.8\n", stdout=out, env=geocli.environ, check=True, timeout=60)
    piped = subprocess.run(
        arguments, input=b"8.8.8.8\n", capture_output=True, env=geocli.environ, check=True, timeout=60
    )

    head, _, rest = (home / "out").read_bytes().partition(b"\n")
    assert b"before" == head
    assert rest.startswith(b"US\n" if command[0] == "batch" else b"{")
    assert piped.stdout.startswith(b"US\n" if command[0] == "batch" else b"{")
    assert before == (os.lstat("/dev/stdout").st_ino, os.readlink("/dev/stdout"))


def test_descriptor_that_is_not_open_is_an_error(geocli: Geocli) -> None:
    """The error has the name that the user gave."""
    run = geocli("batch", "-o", "/dev/fd/987", stdin=b"8.8.8.8\n")

    assert 1 == run.returncode
    assert "/dev/fd/987: Bad file descriptor" == complaint(run)


# owner and permissions


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o660, 0o666, 0o444])
def test_mode_of_a_replaced_file_is_kept(tmp_path: Path, mode: int) -> None:
    """In a directory that only this user can write to, the new file has the mode of the old one, with any umask."""
    tmp_path.chmod(0o755)
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(mode)
    before = rights_of(tmp_path / "out")
    replace(tmp_path / "out")

    assert before == rights_of(tmp_path / "out")


@pytest.mark.parametrize("command", [("batch",), ("stats", "-f", "json")])
def test_private_result_stays_private(geocli: Geocli, command: tuple[str, ...]) -> None:
    """A file that only its owner may read does not become readable for others."""
    out = Path(geocli.environ["HOME"]) / "out"
    out.touch(mode=0o600)
    assert 0 == geocli(*command, "-o", str(out), stdin=b"8.8.8.8\n").returncode

    assert out.read_bytes()
    assert 0o600 == stat.S_IMODE(out.stat().st_mode)


@pytest.mark.parametrize("directory", [0o1777, 0o777, 0o775, 0o2770], ids=oct)
@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o644), (0o4777, 0o644)])
def test_file_is_not_wider_than_0644_where_others_write(
    tmp_path: Path, directory: int, before: int, after: int
) -> None:
    """Where another user may have made the file, its mode does not decide who may write the new one."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(directory)
    out = tmp_path / "shared" / "out"
    out.touch()
    out.chmod(before)
    replace(out)

    assert after == stat.S_IMODE(out.stat().st_mode)


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_owner_of_a_replaced_file_is_kept_in_a_private_directory(tmp_path: Path, mode: int) -> None:
    """A file that root replaces in its own directory keeps its owner, such as a service."""
    tmp_path.chmod(mode)
    (tmp_path / "out").touch(mode=0o600)
    os.chown(tmp_path / "out", SOMEBODY, ELSEBODY)
    replace(tmp_path / "out")

    assert (SOMEBODY, ELSEBODY, 0o600) == rights_of(tmp_path / "out")


def _of_somebody(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY)


@as_root
@pytest.mark.parametrize(
    "share",
    [_of_somebody, lambda path: path.chmod(0o1777), lambda path: path.chmod(0o775), lambda path: path.chmod(0o757)],
    ids=["another's", "sticky", "group", "everybody"],
)
def test_file_that_replaces_another_users_is_roots(tmp_path: Path, share: Callable[[Path], None]) -> None:
    """A file that root writes over another user's does not become that user's."""
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o666)
    os.chown(tmp_path / "out", SOMEBODY, SOMEBODY)
    share(tmp_path)
    replace(tmp_path / "out")

    assert (0, 0, 0o644) == rights_of(tmp_path / "out")


@as_root
def test_file_of_root_becomes_that_of_the_user_who_replaces_it(shared: Path) -> None:
    """A user who may not change owners replaces one of root's files by one of their own, not wider than 0644."""
    (shared / "out").touch()
    (shared / "out").chmod(0o666)
    os.chown(shared, SOMEBODY, SOMEBODY)

    def replace_as_user() -> None:
        become(SOMEBODY)
        replace(shared / "out")

    assert 0 == in_child(replace_as_user)
    assert (SOMEBODY, SOMEBODY, 0o644) == rights_of(shared / "out")


@as_root
def test_group_of_a_replaced_file_is_kept_for_a_member(shared: Path) -> None:
    """A file that a group may read stays readable for it."""
    (shared / "out").touch()
    os.chown(shared / "out", SOMEBODY, ELSEBODY)
    (shared / "out").chmod(0o640)
    os.chown(shared, SOMEBODY, SOMEBODY)

    def replace_as_member() -> None:
        become(SOMEBODY, ELSEBODY)
        replace(shared / "out")

    assert 0 == in_child(replace_as_member)
    assert (SOMEBODY, ELSEBODY, 0o640) == rights_of(shared / "out")


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("target", [None, "gone"])
def test_new_file_respects_the_umask(tmp_path: Path, umask: int, target: str | None) -> None:
    """A new file has 0644, less the umask, also where a link has no target."""
    if target:
        (tmp_path / "out").symlink_to(target)
    before = os.umask(umask)
    try:
        replace(tmp_path / "out")
    finally:
        os.umask(before)

    assert 0o644 & ~umask == stat.S_IMODE((tmp_path / "out").stat().st_mode)


def test_relative_name_is_in_the_working_directory(geocli: Geocli, tmp_path: Path) -> None:
    """A name without a directory is in the working directory."""
    (tmp_path / "here").mkdir()
    for _ in range(2):
        run = subprocess.run(
            [*geocli.command, "batch", "-f", "value", "-o", "out"],
            input=b"8.8.8.8\n",
            env={**geocli.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=tmp_path / "here",
            check=False,
            capture_output=True,
            timeout=60,
        )
        assert (0, b"") == (run.returncode, run.stderr)
    assert ["out"] == os.listdir(tmp_path / "here")
    assert b"US\n" == (tmp_path / "here" / "out").read_bytes()
    shutil.rmtree(tmp_path / "here")
