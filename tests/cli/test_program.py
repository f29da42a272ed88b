"""The frame of all commands: help, exit codes, errors and warnings in a line, interrupts, pipes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import convnet
from convnet.cli import main
from convnet.cli.arguments import make_parser
from convnet.core.surprises import warn

COMMAND = [sys.executable, "-P", "-m", "convnet"]
COMMANDS = ["train", "evaluate", "predict", "export", "summary", "profile", "info"]


def process(*arguments, cwd, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, **options
    )


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes the command info call another one."""
    from convnet.cli import inspection

    return lambda function: monkeypatch.setattr(inspection, "run", lambda options, output: function())


def raising(error):
    def function():
        raise error

    return function


def test_help_names_every_command_with_an_example(convnet_command):
    done = convnet_command("--help")
    assert done.code == 0
    assert all(f"\n    {name} " in done.out for name in COMMANDS)
    assert "example: convnet train" in done.out
    for name in COMMANDS:
        done = convnet_command(name, "--help")
        assert done.code == 0
        assert f"example: convnet {name}" in done.out
        assert done.err == ""


def test_examples_of_the_help_are_right_arguments(convnet_command):
    for name in COMMANDS:
        example = convnet_command(name, "--help").out.split("example: convnet ")[1].split()
        assert example[0] == name
        assert make_parser().parse_args(example).parser.prog == f"convnet {name}"


def test_version(convnet_command):
    assert convnet_command("--version").out == f"convnet {convnet.__version__}\n"


def test_help_imports_nothing_that_it_does_not_need(tmp_path):
    code = "import sys; from convnet.cli import main; main(['train', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    loaded = done.stdout.splitlines()[-1].split()
    assert {name for name in loaded if name.startswith("convnet.")} <= {
        *("convnet._kernels", "convnet.core", "convnet.cli", "convnet.cli.program", "convnet.cli.arguments"),
        *(f"convnet.core.{name}" for name in ("version", "threads", "checks", "quota")),
        "convnet.cli.output",
    }
    assert not {"matplotlib", "PIL", "tqdm", "sklearn", "onnx"} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train", "--epoch", "3"], "unrecognized arguments: --epoch; convnet train --help has all"),
        (["train", "--epochs", "0"], "argument --epochs: expected an integer from 1 to 2147483647, got '0'"),
        (["train", "--epochs", "1.5"], "argument --epochs: expected an integer from 1 to 2147483647, got '1.5'"),
        (["train", "--seed", "-1"], "argument --seed: expected an integer from 0 to 2147483647, got '-1'"),
        (["train", "--seed", "9" * 20], "argument --seed: expected an integer from 0 to 2147483647, got '99999"),
        (["train", "--learning-rate", "0"], "argument --learning-rate: expected a finite number above 0, got 0.0"),
        (["train", "--learning-rate", "nan"], "argument --learning-rate: expected a finite number above 0, got nan"),
        (["train", "--l2", "much"], "argument --l2: expected a number, got 'much'"),
        (["train", "--contrast", "2"], "argument --contrast: expected a finite number of at least 0 and at most 1"),
        (["train", "--validation", "1.0"], "argument --validation: expected a fraction below 1, such as 0.2, or a"),
        (["train", "--test", "-5"], "argument --test: expected a fraction below 1, such as 0.2, or a number of images"),
        (["train", "--size", "48x"], "argument --size: expected pixels such as 64, or height x width as 48x64"),
        (["train", "--size", "0"], "argument --size: expected pixels such as 64, or height x width as 48x64"),
        (["train", "--network", "huge"], "argument --network: invalid choice: 'huge'"),
        (["train", "--threads", "0"], "argument --threads: expected an integer from 1 to 2147483647, got '0'"),
        (
            ["train", "x", "--columns", "a", "b"],
            "argument --columns: they are those of a table; give --labels TABLE, too",
        ),
        (["train", ""], "argument DATA: expected a file or a folder, got an empty text"),
        (["train", "--out", ""], "argument --out: expected a file or a folder, got an empty text"),
        (["train", "--resume", ""], "argument --resume: expected a file or a folder, got an empty text"),
        (["evaluate", "m.npz", "--columns", "a", "b"], "argument --columns: they are those of a table; give --labels"),
        (["summary", "m.npz", "more"], "unrecognized arguments: more; convnet summary --help has all"),
        (["predict", "m.npz", ""], "argument IMAGE: expected a file or a folder, got an empty text"),
        (["predict", "model.npz"], "the following arguments are required: IMAGE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_told_and_end_with_2(convnet_command, arguments, message):
    done = convnet_command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("expected a,\n got b"), "expected a, got b"),
        (FileNotFoundError(2, "No such file or directory", "x.npz"), "x.npz: No such file or directory"),
        (FileNotFoundError("expected x"), "expected x"),
        (ImportError("needs y"), "needs y"),
        (MemoryError(), "there is not enough memory"),
        (KeyError("k"), "KeyError: 'k'; this should not happen, and --debug shows where it did"),
        (ValueError(), "ValueError: ; this should not happen, and --debug shows where it did"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_one_line_and_ends_with_1(convnet_command, failing, error, line):
    failing(raising(error))
    assert convnet_command("info") == (1, "", f"convnet: error: {line}\n")
    done = convnet_command("info", "--debug")
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert done.err.endswith(f"\nconvnet: error: {line}\n")


def test_warnings_are_a_line_each_and_told_once(convnet_command, failing):
    failing(lambda: [warn("a\nb"), warn("a\nb"), warnings.warn("c", UserWarning, stacklevel=1)])
    before = list(warnings.filters)
    for _ in range(2):  # a command does not know what another one has told
        assert convnet_command("info") == (0, "", "convnet: warning: a b\nconvnet: warning: c\n")
    assert warnings.filters == before


def test_interrupts_have_their_exit_codes(convnet_command, failing):
    failing(raising(KeyboardInterrupt))
    assert convnet_command("info") == (130, "", "convnet: interrupted\n")
    failing(lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
    assert convnet_command("info") == (143, "", "convnet: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_thread_of_a_program_may_run_a_command(capfd):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["info"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert capfd.readouterr().out.startswith(f"convnet {convnet.__version__}")


def test_threads_are_set_for_the_command_alone(convnet_command, failing):
    seen, before = [], convnet.get_num_threads()
    failing(lambda: seen.append(convnet.get_num_threads()))
    convnet_command("info", "--threads", before + 3)
    assert seen == [before + 3]
    assert convnet.get_num_threads() == before


def test_a_module_is_a_command(tmp_path):
    done = process("info", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["convnet"] == convnet.__version__
    done = process("train", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "reading nowhere",
        "convnet: error: nowhere: expected a data set, a file or a folder, but there is nothing of this name",
    ]


@pytest.mark.parametrize(("argument", "code"), [("info", 141), ("--help", 0)])
def test_a_broken_pipe_is_silent(tmp_path, argument, code):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*COMMAND, argument], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [("1>&-", ["info"], 0), ("2>&-", ["train", "nowhere"], 1), ("1>&- 2>&-", ["info"], 0)],
    ids=["output", "errors", "both"],
)
def test_a_stream_that_is_closed_is_written_to_nowhere(tmp_path, closed, arguments, code):
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_name_that_the_terminal_cannot_show_is_spelt(tmp_path):
    model = convnet.ConvNet1((1, 8, 8), num_filters=2, hidden_size=3, num_classes=2)
    model.class_names = ["\u4e00", "two"]
    convnet.save_model(model, tmp_path / "model.npz")
    done = process("summary", "model.npz", cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert r"2 classes (\u4e00, two)" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_says_how_to_go_on(tiles, tmp_path, number):
    options = ["--epochs", "5000", "--out", "it is one"]
    started = subprocess.Popen(
        [*COMMAND, "train", tiles, *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in started.stderr:
        if line.startswith("epoch 2/"):
            break
    started.send_signal(number)
    with started:
        rest = started.stderr.read()
    assert started.returncode == 128 + number
    assert rest.splitlines()[-1].startswith("convnet: interrupted after iteration ")
    assert rest.splitlines()[-1].endswith("; to go on: convnet train --resume 'it is one'")
    assert "Traceback" not in rest
    newest = sorted((tmp_path / "it is one" / "checkpoints").iterdir())[-1]
    reached = int(rest.splitlines()[-1].split()[4])
    with np.load(newest) as arrays:
        assert len(arrays["loss_history"]) == reached
