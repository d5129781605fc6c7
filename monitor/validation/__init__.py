"""Judges what a configuration asks for, beside the job types and what lies around it."""

from monitor.validation.settings import problems

__all__ = ["problems"]
