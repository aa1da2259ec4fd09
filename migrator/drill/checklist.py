"""The deployment checklist, ticked off as far as this run proved it."""

from __future__ import annotations

from collections.abc import Collection

from migrator.drill.model import Item, Ticked
from migrator.drill.stage import Stage
from migrator.verify import Check

_MODEL_CHECKS = ("relationship", "back-reference", "tied-both-ways", "resolves", "frozen-default")
_REJECTS = ("validated", "rejects-dangling", "rejects-null")

Found = tuple[Ticked, str]


def checklist(stage: Stage) -> tuple[Item, ...]:
    """What a deployment must have seen to, with this run's evidence; what it did not look at stays open."""
    return (
        Item("orphans-handled", "Orphans identified and handled", *_orphans(stage)),
        Item("constraint-added", "Foreign key constraint added", *_checked(stage, ("foreign-key",))),
        Item("not-nullable", "Column is not nullable", *_checked(stage, ("not-null",))),
        Item("constraints-verified", "Constraints verified in the database", *_checked(stage, _REJECTS)),
        Item("integrity-tested", "Data integrity tested", *_act(stage, "again", "compare")),
        Item("rollback-rehearsed", "Rollback rehearsed", *_act(stage, "compare")),
        Item("models-verified", "Timestamps and relationships verified", *_models(stage)),
        Item("performance-watched", "Performance watched", *_performance(stage)),
    )


def _act(stage: Stage, *slugs: str) -> Found:
    """What the acts came to; the first that did not pass decides."""
    found = [next((one for one in stage.done if one.slug == slug), None) for slug in slugs]
    for act in found:
        if act is None or act.status == "skipped":
            return "open", act.summary if act else "Not part of this run."
        if act.status != "passed":
            return "disproved", act.summary
    return "proved", " ".join(act.summary for act in found[:1] if act)


def _checked(stage: Stage, slugs: Collection[str]) -> Found:
    found = [check for check in stage.checks if check.slug in slugs]
    if not found:
        return "open", "No check of this run looked at it."
    bad = [check for check in found if check.status == "failed"]
    if bad:
        return "disproved", _told(bad)
    passed = [check for check in found if check.status == "passed"]
    return ("proved" if passed else "open"), _told(passed or found)


def _told(checks: list[Check]) -> str:
    # Of several references each says the same in its own name, or word for word: once is enough.
    return "; ".join(dict.fromkeys(check.message.rstrip(".") for check in checks)) + "."


def _orphans(stage: Stage) -> Found:
    state, evidence = _act(stage, "upgrade")
    if state != "proved":
        return state, evidence
    if not stage.aside:
        return "open", "These revisions sweep no orphans."
    told = [
        f"{one.reference}: "
        + (", ".join(f"{rows:,} {kind}" for kind, rows in sorted(one.kinds.items())) or "none")
        for one in stage.aside
    ]
    left = [check for check in stage.checks if check.slug == "no-orphans" and check.status == "failed"]
    return ("disproved", _told(left)) if left else ("proved", "; ".join(told) + " set aside.")


def _models(stage: Stage) -> Found:
    if not stage.mappers:
        return "open", "No models were given: --models package.module:Base"
    return _checked(stage, _MODEL_CHECKS)


def _performance(stage: Stage) -> Found:
    if stage.wishes.load:
        state, evidence = _act(stage, "load")
        return (state if stage.felt or state != "proved" else "open"), evidence
    steps = [step for act in stage.done if act.slug == "upgrade" for step in act.steps]
    if not steps:
        return "open", "No upgrade was carried through."
    evidence = f"The upgrade took {sum(step.seconds for step in steps):.1f} s here, with nobody else at work"
    parts = [(part.seconds, part.name, step.revision) for step in steps for part in step.parts]
    if parts:
        seconds, name, revision = max(parts)
        evidence += f"; longest step: {name} in {revision}, {seconds:.1f} s"
    return "open", f"{evidence}. Watch it in production."
