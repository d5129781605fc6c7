"""The fast path to AWS: requests that are serialised once, signed and sent without a task."""
