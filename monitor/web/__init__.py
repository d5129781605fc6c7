"""The HTTP side: metrics, health and readiness."""
