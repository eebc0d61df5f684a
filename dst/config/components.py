"""Components: config nodes whose ``_target_`` names a class or function, resolved, checked and built."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dst.errors import UserError, unknown

_SAID = ("name", "label", "color")
"""Keys that say what an option is called and how it is drawn."""


def build(group: str, node: Mapping[str, Any], kind: type = object, **runtime: Any) -> Any:
    """Calls the ``_target_`` of a node with the node's other keys.

    The keys ``name``, ``label`` and ``color`` are passed on only to targets that take them.

    Args:
        group: what errors call the node.
        node: with ``_target_``, the qualified name of a class or function.
        kind: the required type of the result.
        runtime: arguments that only a run knows, such as the shape of the data.

    Raises:
        UserError: for a target that cannot be imported or does not give a ``kind``, a key it does not take or a value
            of the wrong type; the line starts with ``group``.
    """
    target = resolve(group, node, kind)
    made = target(**parameters(group, node, target), **runtime)
    if not isinstance(made, kind):
        raise UserError(_not_a(kind, group, node, f"gives a {type(made).__name__}"))
    return made


def resolve(group: str, node: Mapping[str, Any], kind: type = object) -> Callable[..., Any]:
    """Returns the object that a node's ``_target_`` names: a class derived from ``kind``, or a function.

    The result of a function is only checked when it is called, unless its return annotation rules ``kind`` out.

    Args:
        group: what errors call the node.
        node: with ``_target_``.
        kind: the required base class.

    Raises:
        UserError: if it cannot be imported or is something else.
    """
    try:
        target = pkgutil.resolve_name(node["_target_"])
    except Exception as error:  # importing runs a user's module, in which anything may fail
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(f"{group}._target_={node.get('_target_')}: cannot be imported ({reason})") from error
    if not callable(target):
        raise UserError(f"{group}._target_={node['_target_']}: is no class or function")
    if inspect.isclass(target):
        fits = issubclass(target, kind) and (target is not kind or kind is object)
    else:
        returned = _hints(target).get("return", Any)
        unknown_type = returned is Any or not inspect.isclass(returned)
        fits = not inspect.isbuiltin(target) and (
            unknown_type or issubclass(returned, kind) or issubclass(kind, returned)
        )
    if not fits:
        reason = "is the base class itself" if target is kind else f"is no {kind.__name__}"
        raise UserError(_not_a(kind, group, node, reason))
    return target


def _not_a(kind: type, group: str, node: Mapping[str, Any], reason: str) -> str:
    wanted = f"a class derived from {kind.__module__}.{kind.__qualname__}, or a function that gives one"
    return f"{group}._target_={node['_target_']}: {reason}; name {wanted}"


def told_by(error: Exception, line: str) -> str:
    """Returns a one-line message for an error.

    Args:
        error: a UserError's own message is returned unchanged.
        line: what failed; the first line of any other error is appended in brackets.
    """
    if isinstance(error, UserError):
        return str(error)
    return f"{line} ({(str(error).strip() or type(error).__name__).splitlines()[0]})"


def parameters(group: str, node: Mapping[str, Any], target: Callable[..., Any]) -> dict[str, Any]:
    """Returns the keys of a node as arguments of its target, coerced to the annotated types.

    Args:
        group: what errors call the node.
        node: with the arguments as keys.
        target: what :func:`resolve` returned for it.

    Raises:
        UserError: for a key that the target does not take or a value of the wrong type.
    """
    try:
        accepted = inspect.signature(target).parameters
    except ValueError as error:  # something written in C
        raise UserError(f"{group}._target_={node['_target_']}: does not tell which keys it takes") from error
    given = {key: value for key, value in node.items() if key in accepted or key not in ("_target_", *_SAID)}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        for key in given:
            if key not in accepted:
                raise UserError(f"{group}.{key}={given[key]}: {unknown(key, accepted)}")
    hints = _hints(target.__init__ if inspect.isclass(target) else target)
    return {key: typed(f"{group}.{key}", value, hints.get(key, Any)) for key, value in given.items()}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target)
    except Exception:  # names that are imported for type checkers only, callables without annotations
        return {}


def typed(key: str, value: Any, hint: Any) -> Any:
    """Coerces a value to an annotated type, as OmegaConf does.

    Args:
        key: what errors call the value.
        value: from a config.
        hint: the annotation; one that no config can hold leaves the value as it is.

    Raises:
        UserError: if it cannot be converted.
    """
    try:
        schema = OmegaConf.structured(make_dataclass("Typed", [("value", hint, field(default=MISSING))]))
    except OmegaConfBaseException:  # a type that no config can hold is the target's own affair
        return value
    try:
        return OmegaConf.to_container(OmegaConf.merge(schema, {"value": value}))["value"]  # type: ignore[index, call-overload]
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0]
        reason = f"must be a list; write {key}=[{value}]" if "is not a ListConfig" in said else said
        raise UserError(f"{key}={value}: {reason}") from error
