"""The database migration toolkit: see docs/."""
