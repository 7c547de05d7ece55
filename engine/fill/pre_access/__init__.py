"""Filling on demand by fanotify's FAN_PRE_ACCESS (Linux 6.14 and newer)."""
