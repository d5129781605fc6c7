"""Drafts of job types, made from the models and waiters of the SDK."""
