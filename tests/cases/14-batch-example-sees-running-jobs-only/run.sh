#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp -r "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
python3 fake.py 28114 & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 60 count 1 '22222222.*FAILED' err
kill $DAEMON; wait $DAEMON
kill $FAKE
grep -o '"job":"batch.*"current":"[A-Z]*"' err | sed 's/.*us-east-1.//'
grep -q '22222222.*FAILED' err
