#!/bin/bash
# Exit 0: right. Exit 1: the fault is there.
. "$(dirname "$0")/../waiting.sh"; W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=$W/aws-config AWS_SHARED_CREDENTIALS_FILE=$W/credentials
keys() { printf '[p]\nregion = us-east-1\naws_access_key_id = %s\naws_secret_access_key = x\naws_session_token = t\n' "$1" > new; mv new credentials; echo "$1" > valid; }
: > aws-config; keys ASIAONE0000000000001
python3 fake.py 28106 >> fake.log & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
within 60 count 2 ok fake.log
keys ASIATWO0000000000002; echo rotated >> fake.log
after() { sed '1,/rotated/d' fake.log > later; count 5 ok later; }; within 90 after
before=$(sed '/rotated/,$d' fake.log | grep -c ok); after=$(sed '1,/rotated/d' fake.log | grep -c ok)
kill $DAEMON; sleep 3; kill $FAKE
echo "answered looks: $before before, $after after the keys changed"
[ "$before" -ge 2 ] && [ "$after" -ge 5 ]
