"""Models on the devices that they are for: what a phone would take of them, and runs on a real one."""
