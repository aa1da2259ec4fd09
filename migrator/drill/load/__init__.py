"""The application at work during the drill: our own writers or a user's command, and what they felt."""

from migrator.drill.load.running import Command, Load, Log, Written, load
from migrator.drill.load.watch import Operation, measured

__all__ = ["Command", "Load", "Log", "Operation", "Written", "load", "measured"]
