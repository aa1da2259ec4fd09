"""After deployment: is the reference what was asked for, and does the database really hold to it."""

from migrator.verify.model import Check, ReferenceChecks, Verification
from migrator.verify.run import verify

__all__ = ["Check", "ReferenceChecks", "Verification", "verify"]
