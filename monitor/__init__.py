"""Watches long-running AWS jobs and notifies people and programs when they change.

    config ─► app builds everything once
    poller (one per quota) ─► source.describe(job) ─► observation
    recorder ─► diff(snapshot, observation) ─► one transaction: snapshot + transition + deliveries
    dispatcher (one per sink) ─► due deliveries ─► sink.send ─► delivered | retry at | dead
    metrics, web and cli read the same store and the live state

Nothing is sent before it is committed, and nothing is marked delivered before the
sink said yes. A failed poll is never a state. A slow or dead sink never delays
polling or another sink.
"""

__version__ = "0.1.0"
