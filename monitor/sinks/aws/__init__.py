"""The sinks that send through AWS: SNS, SQS and EventBridge."""
