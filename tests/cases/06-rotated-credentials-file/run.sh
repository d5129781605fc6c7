#!/bin/bash
# Exit 0: right. Exit 1: the fault is there. Takes 60 s.
W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=$W/aws-config AWS_SHARED_CREDENTIALS_FILE=$W/credentials
keys() { printf '[p]\nregion = us-east-1\naws_access_key_id = %s\naws_secret_access_key = x\naws_session_token = t\n' "$1" > new; mv new credentials; echo "$1" > valid; }
: > aws-config; keys ASIAONE0000000000001
python3 fake.py 28106 >> fake.log & FAKE=$!
${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
sleep 15; keys ASIATWO0000000000002; echo rotated >> fake.log; sleep 45
before=$(sed '/rotated/,$d' fake.log | grep -c ok); after=$(sed '1,/rotated/d' fake.log | grep -c ok)
kill $DAEMON; sleep 3; kill $FAKE
echo "answered looks: $before before, $after in the 45 s after the keys changed"
[ "$before" -ge 2 ] && [ "$after" -ge 5 ]
