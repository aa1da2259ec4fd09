"""Which engines a test runs on: what its mark says, what servers were given, what the environment narrows."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tests.servers.recipes import DEFAULTS, EXTRAS, FAMILIES, FamilyName, family_of

NARROW_VARIABLE: Final = "MIGRATOR_TEST_ENGINES"
_NAME: Final = re.compile(r"(?P<family>[a-z]+)(?:-(?P<id>[\d.]+)|(?P<op>>=|<)(?P<bound>[\d.]+))?")
_OPERATORS: Final = {">=": operator.ge, "<": operator.lt}


class Selection:
    """The engines of one test session.

    Args:
        given: says which engine ids were given for a family; asked only for families that are used, because
            answering means connecting.
        narrow: the value of `MIGRATOR_TEST_ENGINES`.
    """

    def __init__(self, given: Callable[[FamilyName], Sequence[str]], narrow: str | None = None) -> None:
        self._given = given
        self._narrow = [name.strip() for name in (narrow or "").split(",") if name.strip()]

    def engines(self, names: Iterable[str] = ()) -> list[str]:
        """List the engine ids a test runs on.

        Args:
            names: what the test's mark names: families (`postgresql`), families with a bound
                (`postgresql>=18`), engine ids (`mysql-9.7`). No names mean every engine.

        Raises:
            ValueError: a name is no engine's.
        """
        names = list(names)
        if names:
            return _all(self._wanted(name) for name in names)
        return _all(self._unnarrowed(name) for name in self._narrow or FAMILIES)

    def _wanted(self, name: str) -> Sequence[str]:
        parts = _parse(name)
        narrow = [each for each in self._narrow if _parse(each)["family"] == parts["family"]]
        if self._narrow and not narrow:
            return ()  # not asked for its servers either: they may not be there
        if not parts["id"]:
            return _within(parts, _all(map(self._unnarrowed, narrow or [parts["family"]])))
        wanted = self._unnarrowed(name)
        if not narrow or parts["family"] in narrow:
            return wanted
        allowed = _all(map(self._unnarrowed, narrow))
        return [each for each in wanted if each in allowed]

    def _unnarrowed(self, name: str) -> Sequence[str]:
        parts = _parse(name)
        family = family_of(parts["family"])
        ids = self._of_family(family)
        if not parts["id"]:
            return _within(parts, ids)
        given = self._given(family)
        # Whoever gives servers of a family has said which versions are to be tested.
        return [name] if name in given or not given else ids

    def _of_family(self, family: FamilyName) -> Sequence[str]:
        given = self._given(family)
        if not given:
            return DEFAULTS[family]
        return [each for each in given if each not in EXTRAS] or given


def _all(lists: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(each for ids in lists for each in ids))


def _within(parts: dict[str, str], ids: Sequence[str]) -> Sequence[str]:
    """Those of the ids that keep a name's bound."""
    if not parts["op"]:
        return ids
    compare, bound = _OPERATORS[parts["op"]], _numbers(parts["bound"])
    return [each for each in ids if compare(_numbers(each.partition("-")[2]), bound)]


def _parse(name: str) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None or match["family"] not in FAMILIES:
        raise ValueError(
            f"{name!r} names no engine; name a family ({', '.join(FAMILIES)}), a family with a bound "
            f"(postgresql>=18) or an engine such as {DEFAULTS['postgresql'][0]}"
        )
    return match.groupdict(default="")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
