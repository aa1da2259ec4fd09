"""Writer latency over time, ours beside plain Alembic, from one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measure import Result


def draw(results: Sequence[Result], path: Path, *, title: str) -> None:
    """Write the picture; the kind is the suffix's (png, svg)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [result for result in results if result.contestant in ("migrator", "plain Alembic")]
    figure, axes = pyplot.subplots(len(shown), 1, sharex=True, sharey=True, figsize=(10, 2.6 * len(shown)))
    for axis, result in zip([axes] if len(shown) == 1 else axes, shown, strict=True):
        axis.axvspan(0, result.seconds, color="#dbe9f6", label="migration runs")
        axis.plot(
            [moment for moment, _ in result.trace], [max(took, 0.1) for _, took in result.trace],
            ".", markersize=1.5, color="#1f4e79" if result.contestant == "migrator" else "#b3392c",
        )  # fmt: skip
        axis.set_yscale("log")
        axis.set_ylabel("ms per operation")
        axis.set_title(f"{result.contestant}: worst {result.whole.worst_ms:.0f} ms", loc="left", fontsize=10)
        axis.grid(alpha=0.25)
    figure.suptitle(title)
    axis.set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
