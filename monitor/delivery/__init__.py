"""Delivers the recorded transitions to the sinks."""
