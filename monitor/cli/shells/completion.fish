# Completion of job-monitor for fish.
# For this shell: job-monitor completion fish | source

function __job_monitor_complete
    set -lx _JOB_MONITOR_COMPLETE complete_line
    set -lx _JOB_MONITOR_LINE (commandline -cp)
    set -l token (commandline -ct)
    set -l found (job-monitor 2>/dev/null | string match -rv '^$')
    if test (count $found) -eq 0
        __fish_complete_path $token
    else if string match -qr '^--[^=]+=' -- $token
        # Of --sink=NAME, fish wants all.
        printf '%s\n' (string replace -r '=.*' '=' -- $token)$found
    else
        printf '%s\n' $found
    end
end

complete -c job-monitor -e
complete -c job-monitor -f -a '(__job_monitor_complete)'
