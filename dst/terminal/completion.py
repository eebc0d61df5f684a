"""Tab completion of commands and ``key=value`` settings, as a bash function that starts no process but bash's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Template

from dst.errors import UserError

_SCRIPT = Template("""\
# Tab completion for $program; bash-completion finds it as ~/.local/share/bash-completion/completions/$program
_${function}() {
  local line=$${COMP_LINE:0:COMP_POINT} plans choices end=' '
  local word=$${line##* }
  plans=$$(printf '%s ' outputs/sweeps/*/plan.jsonl)
  plans=$${plans//outputs\\/sweeps\\//} plans=$${plans//\\/plan.jsonl/} plans=$${plans//'*'/}
  if [[ $$COMP_CWORD == 1 ]]; then
    choices='$commands'
  else
    case $$word in
$values
      *=*) return ;;
      *)
        end=
        case $${COMP_WORDS[1]} in
$keys
        esac
        ;;
    esac
  fi
  COMPREPLY=($$(compgen -W "$$choices" -- "$${word#*=}"))
  COMPREPLY=("$${COMPREPLY[@]/%/$$end}")
  # where = breaks no words, the whole word is replaced
  [[ $$word == *=* && $$COMP_WORDBREAKS != *=* ]] && COMPREPLY=("$${COMPREPLY[@]/#/$${word%%=*}=}")
}
complete -o nospace -o default -F _$function $program
""")


def bash_completion(
    program: str, commands: Mapping[str, Iterable[str]], values: Mapping[str, Iterable[str]], shell: str
) -> str:
    """Returns the script that teaches bash to complete a program's arguments.

    Args:
        program: its name.
        commands: keys of each command, without ``=``.
        values: of each key that has names for values; those of ``sweep`` are completed with the sweeps planned in
            ``outputs``.
        shell: which the script is for.

    Raises:
        UserError: for another shell than bash.
    """
    if shell != "bash":
        raise UserError(f"{f'completion {shell}'.strip()}: the script is for bash; type: {program} completion bash")
    names = {key: " ".join(found) for key, found in values.items()}
    planned = " $plans"
    return _SCRIPT.substitute(
        program=program,
        function=program.replace("-", "_"),
        commands=" ".join(commands),
        values="\n".join(
            f'      {key}=*) choices="{found}{planned if key == "sweep" else ""}" ;;' for key, found in names.items()
        ),
        keys="\n".join(
            f"          {command}) choices='{' '.join(f'{key}=' for key in keys)}' ;;"
            for command, keys in commands.items()
        ),
    )
