"""The report as one HTML file that needs nothing else: no script, no font, no image from anywhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from migrator import __version__
from migrator.report.model import Report
from migrator.report.values import pairs, shown


def to_html(report: Report) -> str:
    """The whole page. Every value is escaped."""
    environment = Environment(
        loader=PackageLoader("migrator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        pairs=pairs,
        shown=shown,
        number=lambda number: f"{number:,}",
        percent=lambda share: f"{share:.2%}" if share else "0 %",
    )
    template = environment.get_template("orphan_report.html.j2")
    return template.render(report=report, version=__version__)
