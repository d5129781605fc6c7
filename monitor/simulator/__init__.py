"""A stand-in for AWS and for receivers of webhooks, with a record of the truth.

    scenario ─► jobs live by scripts and by chance ─► every state goes to the truth
    AWS side: request ─► faults ─► gate ─► panorama | importexport ─► answer, recorded
    receiver: request ─► recorded ─► answer, or a failure on purpose
    control, under /_simulator/: look at all of it, change it

It shares no code with the daemon, so that a mistake there cannot confirm itself here.
"""

from monitor.simulator.records import ReceivedRecord, RequestRecord, StateRecord
from monitor.simulator.scenario import SCENARIOS, Scenario
from monitor.simulator.simulator import Simulator, running, serve_forever
from monitor.simulator.strict import ScenarioError

__all__ = [
    "SCENARIOS",
    "ReceivedRecord",
    "RequestRecord",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "StateRecord",
    "running",
    "serve_forever",
]
