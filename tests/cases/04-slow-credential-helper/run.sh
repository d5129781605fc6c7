#!/bin/bash
# Exit 0: right. Exit 1: the fault is there. Takes 60 s. HELPER: seconds that the helper needs.
W=$(mktemp -d); cp "$(dirname "$0")"/* "$W"; cd "$W" || exit 2; chmod +x helper.sh
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE
printf '[default]\nregion = us-east-1\ncredential_process = %s/helper.sh\n' "$W" > aws-config
export AWS_EC2_METADATA_DISABLED=true AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=$W/aws-config HELPER_PIDS=$W/pids HELPER=${HELPER:-33}
python3 fake.py 28104 > fake.log & FAKE=$!
timeout -s TERM 55 ${JM:-job-monitor} run --config config.yaml > out 2> err; sleep 1
left=0; while read -r helper waiting; do kill -0 "$helper" 2>/dev/null && { left=$((left+1)); kill "$helper" "$waiting"; }; done < pids
kill $FAKE
started=$(wc -l < pids); asked=$(grep -c job- fake.log)
echo "helper of $HELPER s: started $started times, left behind $left; looks that reached AWS: $asked"; grep -h poll.failing err | grep -o '"reason".*'
[ "$started" -le 4 ] && [ "$left" = 0 ] && { [ "$HELPER" -gt 60 ] || [ "$asked" -gt 0 ]; }
