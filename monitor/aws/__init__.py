"""The way to AWS that sources and sinks share: clients, credentials, service models, failures."""
