"""The sockets that the picker listens on."""
