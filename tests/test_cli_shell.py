"""The command line in a shell: help, completion, pipes and Ctrl-C."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cotune_bench import cli

ROOT = Path(cli.__file__).parents[3]


def command(here: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from cotune_bench.cli import main; sys.exit(main())", *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_has_a_line_in_the_help_and_explains_itself(ask):
    done = ask("--help")
    assert (done.code, done.out) == (0, ask().out)
    for name, line in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.out, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "run"])
def test_a_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([name, "--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"usage: cotune-bench {name} ")
    assert len(out) > 150


def test_help_of_a_run_names_the_choices_and_runs_nothing(here):
    done = command(here, "run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "method: bi_tuning, bitfit, bn_only, bss, combine, cotuning, delta," in done.stdout.replace("\n", " ")
    assert "cotune-bench run table=desk" in done.stdout
    assert list(here.iterdir()) == []


def test_a_shell_completes_settings_behind_a_command(here):
    completed = command(here, "-sc", "query=bash", COMP_LINE="cotune-bench status method=b").stdout
    assert completed == "method=bi_tuning method=bitfit method=bn_only method=bss\n"


def test_settings_are_shown_without_a_run(here, ask):
    done = ask("method=l2sp", "--cfg", "job")
    assert done.code == 0
    assert "scope: all" in done.out
    assert "updates: 300" in done.out
    assert list(here.iterdir()) == []


def test_bad_input_reaches_the_shell_before_torch_is_loaded(here):
    code = "import sys; from cotune_bench.cli import main; print(main(['rate=7']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith("error: rate=7 cannot be used")


@pytest.mark.parametrize("module", ["cotune_bench.cli", "omegaconf", "torch"])
def test_ctrl_c_while_modules_are_imported_is_one_line(here, module):
    code = f"""
import os, signal, sys
class Press:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from cotune_bench.__main__ import main
sys.exit(main(["run", "method=finetune", "protocol.updates=1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1:] == ["interrupted; the same command continues with what is missing"]
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_failure():
    command = (
        "import sys; from cotune_bench.cli import guarded; sys.exit(guarded(lambda _: print('x' * 9**6) or 0, []))"
    )
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -c 1', sys.executable, command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("x", "", 141)
