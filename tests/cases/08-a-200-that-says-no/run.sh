#!/bin/bash
# Exit 0: right. Exit 1: the fault is there. Takes 20 s.
W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
python3 fake.py 28108 & FAKE=$!
timeout -s TERM 20 ${JM:-job-monitor} run --config config.yaml > out 2> err
${JM:-job-monitor} send-test chat --config config.yaml
lost=$(${JM:-job-monitor} deliveries list --config config.yaml | grep -c ' delivered ')
kill $FAKE
echo "called delivered, of six that were refused: $lost"
[ "$lost" = 0 ]
