"""Implements what only single commands need."""
