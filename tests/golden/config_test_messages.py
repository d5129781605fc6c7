"""Messages of ``job-monitor test``: a wrong file, and tests that fail."""

from tests.golden.kit import command
from tests.golden.registry import message

CONFIG = """\
watches: [{name: disks, type: importexport.job, jobs: [EX1ID]}]
sinks: {audit: {type: log}}
"""
HEAD = """\
config: [monitor.yaml]
tests:
  - name: the end of a disk is written down
    watch: disks
    job: EX1ID
    answers:
      - at: 0s
        response: {JobId: EX1ID, JobType: Import, LocationCode: AtAWS, ProgressCode: InProgress}
      - at: 1h
        error: {code: ThrottlingException}
      - at: 2h
        response: {JobId: EX1ID, JobType: Import, LocationCode: AtAWS, ProgressCode: Complete}
    expect:
"""


def told(directory, text):
    (directory / "monitor.yaml").write_text(CONFIG)
    (directory / "test.yaml").write_text(text)
    return command("test", directory / "test.yaml")


@message("31 configuration tests: an expectation that is not met")
def not_met(directory):
    return told(directory, f"{HEAD}      - {{at: 2h, phase: failed, sinks: []}}\n")


@message("31 configuration tests: a transition that does not follow, and one too many")
def another(directory):
    return told(directory, f"{HEAD}      - {{at: 0s, kind: job.stuck}}\n")


@message("31 configuration tests: names that do not exist")
def unknown(directory):
    text = HEAD.replace("watch: disks", "watch: disk")
    return told(directory, f"{text}      - {{at: 2h, phase: failed, sinks: [audits]}}\n")


@message("31 configuration tests: keys, states and times that cannot be")
def impossible(directory):
    text = HEAD.replace("ProgressCode: Complete", "Progress: Complete")
    return told(directory, f"{text}      - {{at: 3h, sinks: [audits]}}\n")


@message("31 configuration tests: a shape that is wrong")
def shape(directory):
    return told(directory, f"{HEAD}      - {{at: 2h, fase: failed, kind: job.changed}}\n")


@message("31 configuration tests: no configuration")
def no_configuration(directory):
    return told(directory, f"{HEAD.partition(chr(10))[2]}      []\n")
