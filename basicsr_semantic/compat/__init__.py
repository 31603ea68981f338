"""What we change in BasicSR; each repair names the place it is for."""
