"""The load proof: writers at work on a big blog while it is migrated, by us and by others."""
