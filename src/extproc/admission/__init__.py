"""What the picker itself has sent and holds: recent routes, bytes of bodies in memory."""
