#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
python3 fake.py 28102 "${ROW:-ms}" & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 90 count 10 '"kind":"job.discovered".*sound-' err
kill $DAEMON; wait $DAEMON
kill $FAKE
found=$(grep -c '"kind":"job.discovered".*sound-' err)
echo "row ${ROW:-ms}: discovered $found of 10 sound jobs"; grep -h poll.failing err | grep -o '"reason".*'
[ "$found" = 10 ]
