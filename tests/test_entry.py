"""Standard streams, current directory and system errors, as every command handles them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory.common.storage import open_path

ROOT = Path(__file__).parent.parent
BEGIN = "import os, sys; from factory.common.entry import run_main\n"


def ends(body: str, redirections: str = "", **variables: str) -> tuple[int, str, str]:
    """Run `main` with a body in a separate process; return status, stdout and stderr."""
    code = f"{BEGIN}def main():\n    {body}\nrun_main(main)"
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirections}', sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_text_that_a_stream_cannot_encode_is_escaped() -> None:
    body = "print('caf\\u00e9 \\u72ac \\udcff')"
    assert ends(body, PYTHONIOENCODING="ascii") == (0, "caf\\xe9 \\u72ac \\udcff\n", "")


def test_closed_streams_do_not_matter_and_no_file_gets_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    body = f"print(1); print(2, file=sys.stderr); open({str(file)!r}, 'w').write(str(os.dup(0)))"
    assert ends(body, "<&- >&- 2>&-") == (0, "", "")
    # The first free number is that of the file itself, and the one after it is free again.
    assert int(file.read_text()) > 3


@pytest.mark.parametrize(
    ("body", "redirections", "status"),
    [
        ("print('x' * 10**6)", "> >(true); exit $?", 0),
        ("sys.stderr.write('x' * 10**6)", "2> >(true); exit $?", 141),
        ("sys.stderr.write('x' * 10**6)", "> >(true) 2>&1; exit $?", 141),
    ],
)
def test_a_broken_pipe_is_success_only_if_results_went_unread(
    body: str, redirections: str, status: int
) -> None:
    body = f"import time; time.sleep(0.5); {body}"
    assert ends(body, redirections)[0] == status


def test_a_stop_of_a_command_that_cannot_resume_promises_nothing() -> None:
    assert ends("raise KeyboardInterrupt") == (130, "", "stopped by Ctrl-C (SIGINT)\n")


def test_a_closed_connection_is_not_taken_for_a_reader_that_left() -> None:
    status, _, printed = ends("raise BrokenPipeError(32, 'Broken pipe')")
    assert status == 1
    assert "a connection was closed" in printed


def test_a_directory_that_was_removed_is_named(tmp_path: Path) -> None:
    code = f"{BEGIN}os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); run_main(print)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "the current directory was removed; change to another one\n"


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        ("os.symlink('loop', 'loop'); open('loop')", "loop: a symbolic link leads back to itself"),
        ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, 3)); open('file', 'w')", "ulimit"),
        (
            "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1, 1)); os.truncate('f', 9)",
            "ulimit",
        ),
    ],
)
def test_errors_of_the_system_are_reported_in_a_line(
    body: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "f").touch()
    status, _, printed = ends(f"os.chdir({str(tmp_path)!r}); {body}")
    assert (status, printed.count("\n")) == (1, 1)
    assert remedy in printed
    assert printed.endswith("run the same command again to resume\n")


def test_a_tilde_is_expanded_in_every_position(tmp_path: Path) -> None:
    code = f"{BEGIN}run_main(lambda: print(sys.argv[1:]))"
    words = ["~/a", "--out=~/b", "--out", "~", "--set", "a=~/c", "~nobody/d", "e~"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/home/me"},
        capture_output=True,
        text=True,
    )
    expected = ["/home/me/a", "--out=/home/me/b", "--out", "/home/me", *words[4:]]
    assert done.stdout == f"{expected}\n"


def test_a_tilde_in_a_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert open_path("~/out") == Path("/home/me/out")
    assert open_path("out/~") == Path("out/~")
