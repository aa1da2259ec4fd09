"""The orphan report: built once as plain values, then written as text, JSON, CSV, Markdown or HTML."""

from migrator.report.build import build_report
from migrator.report.model import Finding, ReferenceReport, Report

__all__ = ["Finding", "ReferenceReport", "Report", "build_report"]
