"""The frame of all commands: arguments, warnings and errors in one line each, interrupts, and the exit code."""

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from convnet.cli.arguments import parse
from convnet.cli.output import Output, in_one_line
from convnet.core.threads import get_num_threads, set_num_threads

__all__ = ["main"]

SUCCESS, FAILURE = 0, 1
# A shell reports a process that a signal ended by 128 and the number of the signal.
BY_SIGNAL = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those behind the name of the program; by default the process's own.

    Returns
    -------
    int
        0 after success; 1 if the work failed, for which standard error has a line; 2 if the arguments are wrong; 130
        after Ctrl-C, 143 after SIGTERM, and 141 if the reader of a pipe has gone.
    """
    debug = False
    _open_streams()
    with _terminations() as terminations:
        try:
            options = parse(arguments)
            debug, output = options.debug, Output(as_json=options.json, quiet=options.quiet)
            with _warnings_in_lines(), _threads(options.threads):
                import_module(f"convnet.cli.{options.module}").run(options, output)
            sys.stdout.flush()
            return FAILURE if output.has_failed else SUCCESS
        except SystemExit as stop:  # of the parser: help, or wrong arguments
            _forget_broken_pipes()
            return stop.code if isinstance(stop.code, int) else FAILURE
        except BrokenPipeError:
            _forget_broken_pipes()
            return BY_SIGNAL + 13
        except KeyboardInterrupt as interrupt:
            print(f"convnet: {interrupt}" if str(interrupt) else "convnet: interrupted", file=sys.stderr)
            return BY_SIGNAL + (signal.SIGTERM if terminations else signal.SIGINT)
        except Exception as error:
            if debug:
                traceback.print_exc()
            print(f"convnet: error: {in_one_line(error)}", file=sys.stderr)
            return FAILURE


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Write a line for each warning to standard error; one that comes again, as for each figure, is told once."""
    told = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = f"convnet: warning: {' '.join(str(message).split())}"
        if line not in told:
            told.add(line)
            print(line, file=sys.stderr)

    with warnings.catch_warnings():
        if not sys.warnoptions:  # which a user sets by -W or PYTHONWARNINGS
            warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with a number of threads."""
    before = get_num_threads()
    try:
        if count is not None:
            set_num_threads(count)
        yield
    finally:
        set_num_threads(before)


@contextmanager
def _terminations() -> Iterator[list[int]]:
    """Let SIGTERM do what Ctrl-C does: a Solver then ends between two iterations. Give the list of those received."""
    received: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield received
        return

    def terminate(number: int, frame: Any) -> None:
        received.append(number)
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:  # a shell lets what it runs in the background ignore Ctrl-C
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _open_streams() -> None:
    """Let a standard stream that is closed, for which Python has None, write to nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _forget_broken_pipes() -> None:
    """Let Python's own flush at the end write to nowhere instead of a pipe that nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
