"""Tab completion in a real, interactive bash."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dst.commands import analysis, launch
from dst.terminal.completion import bash_completion

COMMANDS = {"plan": ("sweep", "model"), "status": ("sweep",)}
VALUES = {"sweep": ("fig1", "fig12"), "model": ("vgg16",)}


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Types into a bash in a folder with a planned sweep, and returns the line that stands there then."""
    (tmp_path / "outputs" / "sweeps" / "mine").mkdir(parents=True)
    (tmp_path / "outputs" / "sweeps" / "mine" / "plan.jsonl").touch()
    (tmp_path / "completion").write_text(bash_completion("dst-launch", COMMANDS, VALUES, "bash"))
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [shutil.which("bash") or "bash", "--norc", "--noprofile", "-i"],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    os.close(theirs)

    def read_until(end: str) -> str:
        text = ""
        while end not in text:
            text += os.read(ours, 4096).decode()
        return text

    def type_in(keys: str) -> str:
        os.write(
            ours, f"{keys}\x01printf '<%s>' '\x05'; echo END$((1))\n".encode()
        )  # to the line's begin, and to its end
        return read_until("END1\r\n").rpartition("<")[2].partition(">")[0]

    os.write(ours, b"stty -echo; bind 'set enable-bracketed-paste off'; source completion; echo READY$((1))\n")
    read_until("READY1\r\n")
    yield type_in
    shell.kill()
    shell.wait()
    os.close(ours)


@pytest.mark.parametrize("word_breaks", ["", "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}"], ids=["default", "as Hydra sets"])
def test_commands_keys_and_values_are_completed(typed: Callable[[str], str], word_breaks: str) -> None:
    typed(f"{word_breaks or 'true'}\n")
    assert typed("dst-launch pl\t") == "dst-launch plan "
    assert typed("dst-launch plan m\t") == "dst-launch plan model="
    assert typed("dst-launch plan model=v\tsw\tm\t") == "dst-launch plan model=vgg16 sweep=mine "
    assert typed("dst-launch status sweep=f\t") == "dst-launch status sweep=fig1"
    assert typed("dst-launch status m\t") == "dst-launch status m"


@pytest.mark.parametrize(("main", "program"), [(launch, "dst-launch"), (analysis, "dst-analysis")])
def test_each_program_prints_a_script_that_bash_accepts(
    main: Callable[[], None], program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "completion", "bash"])
    with contextlib.suppress(SystemExit):
        main()
    script = capsys.readouterr().out
    assert "sweep=*) choices=" in script
    checked = subprocess.run(["bash", "-c", f"{script}\ncomplete -p {program}"], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
