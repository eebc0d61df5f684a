"""Hydra's sweep syntax as Optuna's distributions."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from dst.config.overrides import quoted
from dst.errors import UserError, unknown

from ..sweep import sweep_syntax


def parse(key: str, values: Any) -> Override:
    """Returns the parsed override of a searched key.

    Args:
        key: of the config.
        values: a list, or text in Hydra's sweep syntax.

    Raises:
        UserError: for text that is not in that syntax.
    """
    try:
        return OverridesParser.create().parse_override(quoted(f"{key}={sweep_syntax(key, values)}"))
    except HydraException as error:
        raise UserError(f"search.space.{key}={values}: {' '.join(str(error).split())}") from error


def distribution(override: Override) -> Any:
    """Returns Optuna's distribution of an override; raises UserError for one that is not valid."""
    from optuna import distributions

    key, values = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return distributions.CategoricalDistribution([str(override.get_value_element_as_str())])
    if not isinstance(values, IntervalSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    if wrong := values.tags - {"log"}:
        raise UserError(f"search.space.{key}: {unknown(sorted(wrong)[0], ['log'])} as a tag")
    whole = isinstance(values.start, int) and isinstance(values.end, int)
    kind = distributions.IntDistribution if whole else distributions.FloatDistribution
    try:
        return kind(values.start, values.end, log="log" in values.tags)
    except ValueError as error:
        raise UserError(f"{override.input_line}: {' '.join(str(error).split())}") from error
