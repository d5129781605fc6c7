ip link set lo up; ip -6 addr add fd00:1::5/128 dev lo; sleep 2
listen=$(sed -n 's/.*JOB_MONITOR_SERVER__LISTEN=//p' Dockerfile); listen=${LISTEN:-${listen%% *}}
JOB_MONITOR_SERVER__LISTEN=$listen timeout -s TERM 120 ${JM:-job-monitor} run --config config.yaml > out 2> err & DAEMON=$!
for _ in $(seq 500); do grep -q daemon.started err && break; sleep 0.2; done
v6=$(curl --noproxy '*' -s -o /dev/null -w '%{http_code}' "http://[fd00:1::5]:9847/-/healthy")
v4=$(curl --noproxy '*' -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:9847/-/healthy"); kill $DAEMON; wait
echo "listen $listen: IPv6 $v6, IPv4 $v4"; grep -h error: err
[ "$v6" = 200 ] && [ "$v4" = 200 ]
