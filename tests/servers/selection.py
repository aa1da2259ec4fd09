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
        if not names:
            return self._resolve(self._narrow or FAMILIES)
        wanted = self._resolve(name for name in names if self._family_is_wanted(name))
        if not self._narrow:
            return wanted
        allowed = self._resolve(self._narrow)
        return [each for each in wanted if each in allowed or family_of(each) in self._narrow]

    def _family_is_wanted(self, name: str) -> bool:
        # A family that is narrowed away is not asked for its servers: they may not be there.
        family = _parse(name)["family"]
        return not self._narrow or any(_parse(each)["family"] == family for each in self._narrow)

    def _resolve(self, names: Iterable[str]) -> list[str]:
        found: dict[str, None] = {}
        for name in names:
            found.update(dict.fromkeys(self._resolve_one(name)))
        return list(found)

    def _resolve_one(self, name: str) -> Sequence[str]:
        parts = _parse(name)
        family = family_of(name if parts["id"] else parts["family"])
        ids = self._of_family(family)
        if parts["op"]:
            compare, bound = _OPERATORS[parts["op"]], _numbers(parts["bound"])
            return [each for each in ids if compare(_numbers(each.partition("-")[2]), bound)]
        if not parts["id"]:
            return ids
        given = self._given(family)
        # Whoever gives servers of a family has said which versions are to be tested.
        return [name] if name in given or not given else ids

    def _of_family(self, family: FamilyName) -> Sequence[str]:
        given = self._given(family)
        if not given:
            return DEFAULTS[family]
        return [each for each in given if each not in EXTRAS] or given


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
