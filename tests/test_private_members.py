"""What the project uses of its libraries' inner parts: each in one place, and there in the installed versions."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from dst.training.optimizer import _SGD, _Adam, _AdamW, _Eager
from tests.conftest import ROOT

KNOWN = {
    "dst/run/wandb_tracker.py": "wandb.sdk.wandb_setup._singleton._connection._proc._process",
    "dst/config/overrides.py": "Override._value, Override._get_value_element_as_str",
    "dst/terminal/arguments.py": "hydra._internal.utils.get_args_parser",
    "dst/training/flops.py": "torch.utils._python_dispatch.TorchDispatchMode",
    "launch/slurm.py": "executor._make_submission_file_text(executor._submitit_command_str)",
    "analysis/dashboard.py": "report._to_model",
}


def private_members(path: Path) -> Iterator[str]:
    """Names of private attributes in a file that the file itself does not define, and of private modules it imports."""
    tree = ast.parse(path.read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    yield from (part for module in imported for part in module.split(".") if re.match("_[^_]", part))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    nodes = [node for node in nodes if ast.unparse(node) != "os._exit"]  # public in spite of its name
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")}
    yield from (node.attr for node in nodes if node.attr not in own and not node.attr.startswith("__"))


def test_libraries_private_members_are_used_in_the_known_places_alone() -> None:
    for package in ("dst", "launch", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            unknown = [member for member in private_members(path) if member not in KNOWN.get(name, "")]
            assert not unknown, f"{name} uses the private {', '.join(unknown)}: use a public one, or add it to KNOWN"


def test_wandb_has_the_handle_by_which_a_hanging_service_is_killed(tmp_path: Path) -> None:
    line = (
        "import wandb; from dst.run.wandb_tracker import service_process\n"
        "wandb.init(mode='offline', settings=wandb.Settings(silent=True))\n"
        "service_process().kill(); print('killed', flush=True)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert process.stdout == "killed\n", f"wandb has moved {KNOWN['dst/run/wandb_tracker.py']}: see service_process"


def test_hydras_overrides_have_what_tells_a_quoted_number_from_a_number() -> None:
    from hydra.core.override_parser.types import Override

    for member in ("_value", "_get_value_element_as_str"):
        assert member in {*Override.__dataclass_fields__, *vars(Override)}, f"Hydra has no {member}"


def test_hydra_has_the_parser_that_tells_its_flags_from_settings() -> None:
    from hydra._internal.utils import get_args_parser

    given = ["seed=1", "--multirun", "density=0.1"]
    assert get_args_parser().parse_intermixed_args(given).overrides == ["seed=1", "density=0.1"], (
        "Hydra's parser reads otherwise: see dst/terminal/arguments.py"
    )


def test_torch_lets_operations_be_counted_without_loading_its_compiler() -> None:
    line = (
        "import sys, torch; from dst.training.flops import count_forward\n"
        "print(count_forward(torch.nn.Linear(3, 4), (3,)).total, 'torch._dynamo' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.stdout == "24 False\n", f"{process.stderr}: see dst/training/flops.py, _should_skip_dynamo"


def test_submitit_and_wandb_workspaces_have_what_shows_what_they_would_send() -> None:
    import wandb_workspaces.reports.v2 as wr
    from submitit import SlurmExecutor

    for member in ("_make_submission_file_text", "_submitit_command_str"):
        assert hasattr(SlurmExecutor, member), f"submitit has no {member} any more: see launch/slurm.py, script"
    assert hasattr(wr.Report, "_to_model"), "wandb_workspaces has no _to_model any more: see analysis/dashboard.py"


def test_torchs_optimizers_are_wrapped_as_the_recipe_unwraps_them() -> None:
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        assert hasattr(kind.step, "__wrapped__"), f"{kind.__name__}.step is wrapped no more"
    plain = [_Eager.add_param_group, _Eager.zero_grad, _Eager.state_dict, _Eager.load_state_dict]
    for method in [*plain, *(inspect.unwrap(kind.step) for kind in (_SGD, _Adam, _AdamW))]:
        assert inspect.isfunction(method)
        assert not hasattr(method, "__wrapped__")
        assert "torch/_compile.py" not in inspect.getfile(method)
