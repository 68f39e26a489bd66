"""One function per command: it parses, makes one call into a room, and prints."""
