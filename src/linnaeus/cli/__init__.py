"""The commands. Only this room prints."""
