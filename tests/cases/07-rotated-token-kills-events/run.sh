#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
echo "Bearer one" > token; cp token wanted
python3 fake.py 28107 > fake.log & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 60 count 2 ' 200' fake.log
echo "Bearer two" > token; cp token wanted
within 90 count 4 ' 200' fake.log
kill $DAEMON; sleep 3; kill $FAKE
dead=$(grep -c delivery.dead err); taken=$(grep -c ' 200' fake.log)
echo "taken: $taken, dead: $dead"
[ "$dead" = 0 ] && [ "$taken" -ge 4 ]
