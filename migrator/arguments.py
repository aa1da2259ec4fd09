"""What `alembic -x name=value` said, as settings and policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from migrator.errors import UsageError
from migrator.operate import Policies
from migrator.policy import Backfill, Chain, CreateParents, Decisions, Policy, policy_named
from migrator.reference import Reference
from migrator.settings import Settings, resolve

_SENTINEL = "sentinel."
_PARENT = "parent."
_SETTINGS = ("lock_timeout", *(field.name for field in fields(Settings)))
KNOWN = (
    "url",
    "on_null",
    "on_dangling",
    "backfill_to",
    "decisions",
    "drop_tables",
    "server_version",
    "peek",
    *_SETTINGS,
)


def check_names(arguments: Mapping[str, Any]) -> None:
    """Refuse an argument nobody reads: a typing error in `on_dangling` must not end in the default.

    Raises:
        UsageError: naming the argument and the nearest known one.
    """
    _check(KNOWN, [name for name in arguments if not name.startswith((_SENTINEL, _PARENT))])


def check_values(arguments: Mapping[str, Any]) -> None:
    """Refuse a value that is wrong in any database before the first of several revisions, not at the one that
    reads it.

    Raises:
        UsageError: a setting's value is none, or a word names no policy.
    """
    settings_from(arguments)
    for name in ("on_null", "on_dangling"):
        _said(arguments, name, Backfill())


def settings_said(words: Sequence[str]) -> Settings:
    """The settings of a command that takes no policies: what `-x name=value` says, else environment and
    defaults.

    Raises:
        UsageError: a word without "=", a name that is no setting, a value that is none.
    """
    for word in words:
        if "=" not in word:
            raise UsageError(f"-x {word} cannot be read.", hint="Write it as -x name=value.")
    said = dict(word.split("=", 1) for word in words)
    _check(_SETTINGS, said)
    return resolve(said)


def _check(known: Sequence[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"-x {name}= is not known.", hint=f"{meant}Known are: {', '.join(known)}.")


def check_near_names(arguments: Mapping[str, Any]) -> None:
    """The same inside a project's own environment, which may have arguments of its own: refused is what
    looks like one of ours and is not.

    Raises:
        UsageError: naming the argument and the one that was meant.
    """
    for name in arguments:
        prefix, dot, column = name.partition(".")
        near = get_close_matches(prefix, (_SENTINEL[:-1], _PARENT[:-1]) if dot else KNOWN, n=1, cutoff=0.8)
        meant = f"{near[0]}{dot}{column}" if near else name
        if name != meant and name not in KNOWN:
            raise UsageError(f"-x {name}= is not known.", hint=f"Did you mean -x {meant}=?")


def settings_from(arguments: Mapping[str, Any], **stated: Any) -> Settings:
    """The settings: what `-x` says, else what the revision states, else environment and defaults."""
    said = {name: value for name, value in arguments.items() if name in _SETTINGS}
    return resolve({**{name: value for name, value in stated.items() if value is not None}, **said})


def policies_from(
    arguments: Mapping[str, Any],
    reference: Reference,
    on_null: Policy | str | None,
    on_dangling: Policy | str | None,
) -> Policies:
    """The policies: `-x on_null=`, `-x on_dangling=`, `-x backfill_to=`, `-x sentinel.<column>=`,
    `-x parent.<column>=` and `-x decisions=<file>` over what the revision states. What the file decides
    comes before the policy.

    Raises:
        UsageError: a word that names no policy; `backfill_to` with a policy that does not backfill.
    """
    base = Policies.of(reference, _policy(on_null), _policy(on_dangling))
    null = _said(arguments, "on_null", base.on_null)
    dangling = _said(arguments, "on_dangling", base.on_dangling)
    to = arguments.get("backfill_to")
    stated = _stated(arguments, _SENTINEL)
    parent = _stated(arguments, _PARENT)
    if to is not None and not any(isinstance(policy, Backfill) for policy in (null, dangling)):
        raise UsageError(
            "-x backfill_to= is given, but neither on_null nor on_dangling backfills.",
            hint="Leave it out, or say -x on_dangling=backfill.",
        )
    decided = () if "decisions" not in arguments else (Decisions(str(arguments["decisions"])),)
    key = None if to is None else _key(to, len(reference.parent_columns))
    return Policies(
        _after(decided, _with(null, key, stated, parent)),
        _after(decided, _with(dangling, key, stated, parent)),
    )


def _stated(arguments: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): said for name, said in arguments.items() if name.startswith(prefix)}


def _key(said: Any, columns: int) -> tuple[Any, ...]:
    """The values of a key: commas part them, unless the key is one column, which may hold a comma."""
    return tuple(said.split(",")) if isinstance(said, str) and columns > 1 else (said,)


def _after(decided: tuple[Decisions, ...], policy: Policy) -> Policy:
    return Chain(*decided, policy) if decided else policy


def _policy(policy: Policy | str | None) -> Policy | None:
    return policy_named(policy) if isinstance(policy, str) else policy


def _said(arguments: Mapping[str, Any], name: str, default: Policy) -> Policy:
    word = arguments.get(name)
    return default if word is None else policy_named(str(word), default)


def _with(
    policy: Policy, to: tuple[Any, ...] | None, stated: Mapping[str, Any], parent: Mapping[str, Any]
) -> Policy:
    if isinstance(policy, CreateParents):
        return CreateParents({**policy.values, **parent})
    if not isinstance(policy, Backfill):
        return policy
    if to is not None:
        return Backfill(to=to)
    return replace(policy, sentinel={**policy.sentinel, **stated}, required=frozenset(stated))
