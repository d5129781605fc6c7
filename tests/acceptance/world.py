"""Jobs that go on and on in a simulator, through states of which none comes twice."""

import anyio

SERVICES = ("panorama", "importexport")
NAMED = 4
"""Jobs of each service that the configuration names; all others are discovered."""


class World:
    """Jobs that go on and on; one that ends is followed by a new one."""

    def __init__(self, sim, chance):
        self._sim = sim
        self._chance = chance
        self._plans = {}
        self._born = 0

    def populate(self):
        for service in SERVICES:
            for number in range(1, NAMED + 1):
                self._begin(service, f"{service}-named-{number}", length=30)
            for _ in range(4):
                self._discovered(service)

    async def turn(self):
        """Let one job go on after another, until cancelled."""
        while True:
            await anyio.sleep(self._chance.uniform(0.05, 0.3))
            self._step(self._chance.choice(list(self._plans)))

    def finish(self):
        """Bring every job to its end, all at once."""
        for key, steps in self._plans.items():
            self._sim.change(key[1], steps[-1], service=key[0])
        self._plans.clear()

    def _discovered(self, service):
        self._born += 1
        self._begin(service, f"{service}-{self._born}", length=self._chance.randint(2, 4))

    def _begin(self, service, job_id, length):
        self._sim.add_job(id=job_id, service=service)
        self._plans[service, job_id] = self.steps(service, length)

    def steps(self, service, length):
        return _steps(service, length, self._chance)

    def _step(self, key):
        service, job_id = key
        if service == "panorama" and self._chance.random() < 0.1:
            self._sim.change(job_id, StatusMessage=f"note {self._chance.random()}")
            return
        steps = self._plans[key]
        self._sim.change(job_id, steps.pop(0), service=service)
        if not steps:
            del self._plans[key]
            self._discovered(service)


def _steps(service, length, chance):
    """States that never come twice, so that each one told can be told apart."""
    if service == "panorama":
        last = chance.choice(["SUCCEEDED", "FAILED"])
        return [{"set": {"Status": state}} for state in (*_numbered(length), last)]
    known = [{"set": {"LocationCode": "AtAWS"}}, {"set": {"ProgressCode": "InProgress"}}]
    further = [{"set": {"ProgressCode": state}} for state in _numbered(length - 2)]
    return [*known, *further, {"set": {"LocationCode": "Returned", "ProgressCode": "Complete"}}]


def _numbered(count):
    return [f"STEP_{number}" for number in range(1, count + 1)]
