# Completion of job-monitor for bash 4.4 and newer.
# For this shell: source <(job-monitor completion bash)

_job_monitor() {
    local line=${COMP_LINE:0:COMP_POINT} program=${1/#\~/$HOME} reply value mark rest
    reply=$(_JOB_MONITOR_COMPLETE=complete_line _JOB_MONITOR_LINE=$line "$program" 2>/dev/null) || return 0
    # Bash ends words at these signs, too, and replaces only what stands behind the last of them.
    local word=${line##*[[:space:]]}
    rest=$word
    for mark in : =; do
        [[ $COMP_WORDBREAKS == *"$mark"* ]] && rest=${rest##*"$mark"}
    done
    local before=${word%"$rest"}
    COMPREPLY=()
    while IFS= read -r value; do
        value=${value%%$'\t'*}
        [[ -n $value ]] && COMPREPLY+=("$(printf %q "${value#"$before"}")")
    done <<<"$reply"
}

complete -o default -o nosort -F _job_monitor job-monitor
