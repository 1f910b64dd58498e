"""Exit codes, one sentence a failure, and the help texts."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from heatbath.cli import main as cli
from heatbath.errors import BadInput, ModelError, Unreliable


def _raise(error: BaseException) -> object:
    def doctor() -> None:
        raise error

    return doctor


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    import heatbath.cli.doctor

    monkeypatch.setattr(heatbath.cli.doctor, "doctor", _raise(error))
    return cli.main(["doctor"])


FAILURES = [
    (BadInput("Temperature must not be negative: got -1.0."), 2, "Temperature must not be negative: got -1.0."),
    (ModelError("No such model."), 1, "No such model."),
    (Unreliable("Too few samples.", 1.0), 1, "Too few samples."),
    (OSError(errno.ENOSPC, "No space left on device", "out.parquet"), 1, "the disk is full (out.parquet)"),
    (PermissionError(errno.EACCES, "Denied", "/report"), 1, "no permission to read or write (/report)"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"), 1, "no such file or directory (a.txt)"),
    (MemoryError(), 1, "ran out of memory"),
    (KeyError("weights"), 1, "KeyError: 'weights'"),
    (KeyboardInterrupt(), 130, "stopped by Ctrl-C."),
]


@pytest.mark.parametrize(("error", "code", "words"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_failure_is_one_sentence(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HEATBATH_DEBUG", raising=False)
    assert _fail_with(monkeypatch, error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("heatbath: ") and words in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HEATBATH_DEBUG", "1")
    assert _fail_with(monkeypatch, ModelError("No such model.")) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["sweeep"], ["--nothing"], ["doctor", "--nothing"], ["bench", "nowhere"]])
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err


def test_a_mistyped_command_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctr"]) == 2
    assert "doctor" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import heatbath

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"heatbath {heatbath.__version__}\n"


def test_a_reader_that_leaves_early_is_no_failure_to_report() -> None:
    code = "import sys; from heatbath.cli.main import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run([sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_line_in_the_list_is_the_first_of_the_commands_own_help(command: str) -> None:
    own = cli.build_application().get_command(None, command).help or ""
    assert " ".join(own.split("\n\n")[0].split()) == cli.COMMANDS[command]
