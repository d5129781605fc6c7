#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
python3 fake.py 28108 & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 60 count 3 delivery.dead err
within 60 count 1 delivery.failing err
kill $DAEMON; wait $DAEMON
${JM:-job-monitor} send-test chat --config config.yaml
${JM:-job-monitor} deliveries list --config config.yaml > deliveries
lost=$(grep -c ' delivered ' deliveries); all=$(grep -c 'job-[123]' deliveries)
kill $FAKE
echo "called delivered, of $all that were refused: $lost"
[ "$lost" = 0 ] && [ "$all" -ge 6 ]
