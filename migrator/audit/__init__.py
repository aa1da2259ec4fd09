"""The audit: findings on models and on data, each with its evidence and the exact text that mends it."""

from migrator.audit.model import SEVERITIES, SLUGS, Audit, Finding
from migrator.audit.run import audit

__all__ = ["SEVERITIES", "SLUGS", "Audit", "Finding", "audit"]
