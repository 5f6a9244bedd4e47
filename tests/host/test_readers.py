"""What is printed where nobody reads any more: real pipes and terminals, closed."""

import subprocess
import sys

import pytest

from jaxswarm.host import readers
from tests.terminals import ROOT, Terminal

PROGRAM = """
import contextlib, sys
from rich.console import Console
from jaxswarm.host import readers

@readers.may_leave()
def main():
    console = Console()
    print("begun", flush=True)
    with contextlib.suppress(OSError):
        sys.stdin.readline()
    {says}
    print("the end", file=sys.stderr)
    open({out!r}, "w").write("went on")
    return 5

sys.exit(main())
"""

SAYS = ["print('x')", "print('x' * 100_000)", "console.print('x')", "Console().print('x')"]


@pytest.mark.parametrize("says", SAYS)
def test_a_reader_that_leaves_ends_no_program_and_changes_no_exit_code(tmp_path, says):
    program = PROGRAM.format(says=says, out=str(tmp_path / "out"))
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()
    print(file=process.stdin, flush=True)
    said = process.stderr.read()
    assert process.wait(30) == 5
    assert said == "the end\n"
    assert (tmp_path / "out").read_text() == "went on"
    process.stdin.close()
    process.stderr.close()


@pytest.mark.parametrize("says", SAYS)
def test_nor_does_a_window_that_is_closed(tmp_path, says):
    program = PROGRAM.format(says=says, out=str(tmp_path / "out"))
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{program}"
    with Terminal([sys.executable, "-c", program]) as window:
        window.until(lambda: "begun" in window.shown)
        window.hang_up()  # that ends the wait for a line, too
        assert window.process.wait(30) == 5
    assert (tmp_path / "out").read_text() == "went on"


def test_what_stands_in_the_streams_places_has_all_else_of_them_and_goes_with_the_block():
    before = sys.stdout, sys.stderr
    with readers.may_leave():
        assert sys.stdout.isatty() == before[0].isatty()
        assert sys.stderr.encoding == before[1].encoding
    assert (sys.stdout, sys.stderr) == before
