"""Polls AWS for the configured jobs, and hands each observation to the recorder."""
