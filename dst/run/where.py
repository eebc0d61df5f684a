"""Evaluates ``where='recipe.lr == 0.1'``: an expression of comparisons that selects runs."""

from __future__ import annotations

import ast
import difflib
import json
import operator
from collections.abc import Callable
from typing import Any

import pandas as pd

from dst.errors import UserError
from dst.run.choices import column_name, config_key

_EXAMPLE = "\"criterion in ['snip', 'set'] and recipe.lr == 0.1\""
_SHOWN = 8
_CONSTANTS = {"true": True, "false": False, "null": None}
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def row_mask(frame: pd.DataFrame, expression: str) -> pd.Series:
    """Returns a boolean per row: whether the expression is true.

    Args:
        frame: one row per run.
        expression: may contain columns (``recipe_lr``) or config keys (``recipe.lr``), numbers, strings,
            ``true false null``, lists, comparisons, ``in and or not`` and parentheses. Nothing is called.

    Raises:
        UserError: for any other syntax and for unknown names; one line.
    """
    said = f"where={' '.join(expression.split())}"
    try:
        return _evaluate_condition(ast.parse(expression.strip(), mode="eval").body, frame)
    except UserError as error:
        raise UserError(f"{said}: {error}") from error
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise UserError(f"{said}: cannot be read; write such as {_EXAMPLE}") from error
    except TypeError as error:
        raise UserError(f"{said}: compares text with a number; write such as {_EXAMPLE}") from error


def describe_values(frame: pd.DataFrame, expression: str) -> str:
    """Lists the values of the columns in a valid expression, for an error message.

    Args:
        frame: one row per run.
        expression: as for :func:`row_mask`.
    """
    names = {name for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if (name := _dotted_name(node))}
    whole = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return "; ".join(
        f"{name}: {_list_values(frame[column_name(name)])}" for name in sorted(whole) if column_name(name) in frame
    )


def _list_values(values: pd.Series) -> str:
    found = sorted(values.dropna().unique(), key=lambda value: (isinstance(value, str), value))
    return ", ".join(map(str, found[:_SHOWN])) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _evaluate_condition(node: ast.expr, frame: pd.DataFrame) -> pd.Series:
    """Evaluates a condition; returns one boolean per row."""
    if isinstance(node, ast.BoolOp):
        parts = [_evaluate_condition(part, frame) for part in node.values]
        combined = parts[0]
        for part in parts[1:]:
            combined = combined & part if isinstance(node.op, ast.And) else combined | part
        return combined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_evaluate_condition(node.operand, frame)
    if isinstance(node, ast.Compare):
        sides = [_evaluate_operand(side, frame) for side in (node.left, *node.comparators)]
        parts = [_compare(a, op, b) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
        return pd.concat(parts, axis=1).all(axis=1)
    raise UserError(f"{ast.unparse(node)} is no comparison; use == != < <= > >= in, and, or, not, as in {_EXAMPLE}")


def _compare(left: Any, op: ast.cmpop, right: Any) -> pd.Series:
    if isinstance(op, (ast.NotEq, ast.NotIn, ast.IsNot)):
        opposite = {ast.NotEq: ast.Eq, ast.NotIn: ast.In, ast.IsNot: ast.Is}[type(op)]()
        return ~_compare(left, opposite, right)
    if isinstance(op, ast.In):
        if not isinstance(left, pd.Series) or not isinstance(right, list):
            raise UserError(f"in needs a name on its left and a list on its right, as in {_EXAMPLE}")
        found = [json.dumps(value) if isinstance(value, list) else value for value in right if value is not None]
        return left.isin(found) | (left.isna() if None in right else False)
    if not isinstance(left, pd.Series):
        left, right, op = right, left, _mirrored(op)
    if not isinstance(left, pd.Series):
        raise UserError(f"every comparison needs a name, as in {_EXAMPLE}")
    if right is None:
        return left.isna()
    right = json.dumps(right) if isinstance(right, list) else right
    compare = _ORDERS.get(type(op), operator.eq)
    known = left.notna() if not isinstance(right, pd.Series) else left.notna() & right.notna()
    held = pd.Series(False, index=left.index)
    held[known] = compare(left[known], right[known] if isinstance(right, pd.Series) else right).astype(bool)
    return held


def _mirrored(op: ast.cmpop) -> ast.cmpop:
    turned = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}.get(type(op), type(op))
    return turned()


def _evaluate_operand(node: ast.expr, frame: pd.DataFrame) -> Any:
    """Evaluates an operand: a column, number, string, boolean, None, or a list of values."""
    name = _dotted_name(node)
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name is not None:
        return _lookup_column(name, frame)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluate_operand(item, frame.iloc[:, :0]) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str, type(None))):
        return node.value
    raise UserError(f"{ast.unparse(node)}: only names, numbers, texts and lists can be compared, as in {_EXAMPLE}")


def _number(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    raise UserError(f"-{ast.unparse(node)} is no number")


def _dotted_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted_name(node.value)):
        return f"{before}.{node.attr}"
    return None


def _lookup_column(name: str, frame: pd.DataFrame) -> pd.Series:
    if column_name(name) in frame:
        return frame[column_name(name)]
    valid = sorted(config_key(known) or known for known in map(str, frame.columns))
    if not valid:
        raise UserError(f"{name}: a list holds values, no names; put texts in quotes")
    nearest = difflib.get_close_matches(name, valid, n=len(valid), cutoff=0)
    raise UserError(f"there is no {name}; the nearest first, there are {', '.join(nearest)}")
