#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
python3 fake.py 28101  > fake.log & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 90 count 3 "page 1" fake.log
within 90 count 6 '"kind":"job.discovered"' err
kill $DAEMON; wait $DAEMON
kill $FAKE
found=$(grep -c '"kind":"job.discovered"' err); asked=$(grep -c 'page 1' fake.log)
echo "page 1 asked $asked times, page 2 $(grep -c 'page 2' fake.log) times; discovered $found jobs of about 9"
[ "$asked" -ge 3 ] && [ "$found" -ge 6 ]
