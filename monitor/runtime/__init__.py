"""Runs one configuration after another: reload, run-time watches, status."""
