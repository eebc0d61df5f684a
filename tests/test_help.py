"""``COMMAND --help`` shows the lines that concern the command."""

from __future__ import annotations

import pytest

import analysis.cli
import launch.cli
from dst.terminal.help import help_of


@pytest.mark.parametrize("program", [launch.cli, analysis.cli], ids=lambda program: program.__name__)
def test_every_command_has_a_line_of_its_own_in_its_help(program: object) -> None:
    for command in program.COMMANDS:  # type: ignore[attr-defined]
        first, *rest = help_of(command, program.HELP, program.COMMANDS).splitlines()  # type: ignore[attr-defined]
        assert first.endswith(f" {command} [key=value ...]")
        assert any(line.startswith(f"  {command} ") for line in rest)


def test_other_commands_are_left_out() -> None:
    shown = help_of("archive", launch.cli.HELP, launch.cli.COMMANDS).splitlines()
    assert [line.split()[0] for line in shown if line.startswith("  ") and line[2] != " "] == ["archive", "…"]
    assert any(line.startswith("Clusters: ") for line in shown)
    assert not any(line.startswith(("plan, submit …", "submit …")) for line in shown)
    assert "plan, submit … KEY=VALUE" in help_of("plan", launch.cli.HELP, launch.cli.COMMANDS)
    spectra = help_of("hessian", analysis.cli.HELP, analysis.cli.COMMANDS)
    assert "interpolate  RUN_A" not in spectra
    assert "Without runs:" not in spectra
    assert "Trained networks, for runs with a checkpoint" in spectra
