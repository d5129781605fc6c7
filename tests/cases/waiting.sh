# within SECONDS COMMAND...: wait until a command succeeds, at most for so long.
# A busy machine then needs longer, and an idle one hardly longer than it must.
within() { local end=$((SECONDS + $1)); shift; while ! "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done; }
# count NUMBER PATTERN FILE: succeed once so many lines match.
count() { [ "$(grep -c "$2" "$3" 2>/dev/null)" -ge "$1" ]; }
# listens PORT: succeed once somebody listens there.
listens() { (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
