"""The command line: the commands, and the conversion of errors to one sentence and an exit code.

A command `name` lives in `heatbath/cli/name.py` as a function `name`, or as a typer app `app` when it has subcommands.
Its module is imported only when the command runs, so that `heatbath --help` stays fast.

Exit codes: 0 success, 1 failure, 2 bad input or usage, 130 interrupted by Ctrl-C. `HEATBATH_DEBUG=1` shows tracebacks,
and the warnings and log lines of libraries, which are kept off the terminal otherwise.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from heatbath.errors import BadInput, HeatbathError

COMMANDS = {
    "models": "List, download, locate and remove models.",
    "measure": "Measure a text: one thermodynamic record per token.",
    "generate": "Generate text with any sampler, with a record of every token.",
    "sweep": "Find where a model freezes and melts, and a temperature to use.",
    "compare": "Compare two models, precisions, seeds or windows, with intervals.",
    "calibrate": "Find out which answers to trust, and write a calibrator.",
    "decide": "Answer questions with labels: check, fit and run.",
    "prompts": "Check, list, show and render the prompts of a folder.",
    "index": "Index documents, search them, and evaluate the search.",
    "policy": "Check a policy, test it on texts, measure what it costs.",
    "serve": "Serve a model over the OpenAI API, with records and a dashboard.",
    "ledger": "Record decisions in a Merkle log: append, prove, verify, audit.",
    "review": "Review answers that wait for a person, on a running server.",
    "bench": "Measure speed and memory against their targets.",
    "doctor": "Check this installation and machine, or a model.",
}


class UserInterrupt(Exception):
    """Ctrl-C, hidden from typer, whose handling of KeyboardInterrupt differs between versions."""


class LazyGroup(TyperGroup):
    """A command group that lists names and one-line help without importing the commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)  # typer suggests from these names for a mistyped command
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        return _load_command(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise UserInterrupt from error


def _load_command(name: str) -> Any:
    module = import_module(f"heatbath.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name=name, cls=getattr(module, "COMMAND_CLASS", None))(getattr(module, name))
    app.rich_markup_mode = None  # plain help starts faster, and docs/cli.md is generated from it
    command = typer.main.get_command(app)
    command.name = name
    return command


def _print_version(requested: bool) -> None:
    if requested:
        import heatbath

        typer.echo(f"heatbath {heatbath.__version__}")
        raise typer.Exit()


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Statistical mechanics for language models: measure, steer and serve them."""


def build_application() -> Any:
    """Build the command tree for typer and its shell completion."""
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, no_args_is_help=True)
    app.callback()(root)
    return typer.main.get_command(app)


def format_error(error: BaseException) -> str:
    """Describe an error in one sentence."""
    if isinstance(error, OSError) and not isinstance(error, HeatbathError):
        return _format_os_error(error)
    if isinstance(error, HeatbathError):
        return str(error)
    if isinstance(error, MemoryError):
        return "the machine ran out of memory: use a smaller batch, a shorter text or a smaller model."
    text = " ".join(str(error).split())
    return f"unexpected error ({type(error).__name__}: {text}): set HEATBATH_DEBUG=1 for the traceback."


def _format_os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: free some space or write to another folder."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to read or write{where}: choose another path."
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason[:1].lower()}{reason[1:]}{where}: check the path."


def _report_error(error: BaseException) -> int:
    if os.environ.get("HEATBATH_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    print(f"heatbath: {format_error(error)}", file=sys.stderr)
    return 2 if isinstance(error, BadInput) else 1


def _close_stdout() -> None:
    """Redirect stdout to /dev/null: its reader has gone, and the final flush of the interpreter must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_application(arguments: list[str] | None) -> int:
    try:
        build_application()(args=arguments, prog_name="heatbath")
    except SystemExit as exit_:
        sys.stdout.flush()
        return exit_.code if isinstance(exit_.code, int) else 0
    return 0


def _silence_libraries() -> None:
    """Keep warnings and log lines of libraries off the terminal: for the whole process, before any is imported."""
    import logging
    import warnings

    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if logging.lastResort is not None:  # prints the records of loggers that nobody has set up
        logging.lastResort.addFilter(lambda record: record.name.partition(".")[0] == "heatbath")
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. Without `arguments` it is a process of its own: those of the shell."""
    if arguments is None and os.environ.get("HEATBATH_DEBUG") != "1":
        _silence_libraries()
    try:
        return _run_application(arguments)
    except (UserInterrupt, KeyboardInterrupt):
        print("heatbath: stopped by Ctrl-C.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except Exception as error:
        return _report_error(error)
