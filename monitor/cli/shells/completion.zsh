#compdef job-monitor
# Completion of job-monitor for zsh, after compinit.
# For this shell: source <(job-monitor completion zsh)

_job_monitor() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" reply each value help
    local -a found
    reply="$(_JOB_MONITOR_COMPLETE=complete_line _JOB_MONITOR_LINE="$line" "${(Q)words[1]/#\~/$HOME}" 2>/dev/null)"
    for each in "${(@f)reply}"; do
        value="${each%%$'\t'*}"
        help="${${each#"$value"}#$'\t'}"
        [[ -n "$value" ]] && found+=("${value//:/\\:}${help:+:$help}")
    done
    # In --sink=NAME only the name is completed.
    [[ "$PREFIX" == -*=* ]] && compset -P '*='
    if (( $#found )); then
        _describe 'job-monitor' found
    else
        _files
    fi
}

if [[ "${funcstack[1]}" == _job_monitor ]]; then
    _job_monitor "$@"
else
    compdef _job_monitor job-monitor
fi
