"""What one run holds: its options, its folder, and the targets, which start when a part first asks for them."""
import sys
import time
from pathlib import Path

from . import databases, gateway, nginx, upstream
from .target import Target

# The profiles that stand in every table of profiles.
PROFILES = ("bare", "governed", "shared")
# Seconds after which memory that the start took is given back.
REST = 3


class Bench:
    """Made once; `close` ends and removes all that it started."""

    def __init__(self, binary, folder, options):
        self.binary, self.folder, self.options = binary, Path(folder), options
        options.folder = self.folder
        self.stub, self.upstream = upstream.start_stub(binary)
        self.direct = Target("direct", self.upstream, process=self.stub)
        self.targets, self.postgres, self.told = {}, None, set()

    def say(self, text):
        """A word to whoever waits, once."""
        if text not in self.told:
            self.told.add(text)
            print(text, file=sys.stderr, flush=True)

    def nginx(self):
        if "nginx" not in self.targets:
            self.targets["nginx"] = nginx.start(self.folder, self.upstream)
        return self.targets["nginx"]

    def profile(self, name):
        """The gateway in this profile; None when something that it needs is not installed."""
        if name not in self.targets:
            self.targets[name] = self.start(name)
        return self.targets[name]

    def start(self, name, upstream=None, **more):
        """One more gateway in this profile, before this upstream or the run's own."""
        upstream = upstream or self.upstream
        if name != "shared":
            return gateway.start(self.binary, self.folder, upstream, name, **more)
        if databases.missing():
            self.say(f"left out: governed with PostgreSQL and Redis ({', '.join(databases.missing())} not installed)")
            return None
        if not self.postgres:
            self.postgres, self.redis = databases.Postgres(), databases.redis(self.folder)
        # Redis has the load's processor to share, which is always busy: with the default of 50 ms some calls would be refused.
        stores = f"database: {{ url: '{self.postgres.url()}' }}\nredis: {{ url: '{self.redis}', timeout: 2s }}"
        return gateway.start(self.binary, self.folder, upstream, name, stores=stores, **more)

    def asked(self):
        """The names of the profiles of the tables."""
        return [name for name in PROFILES if name in self.options.profiles]

    def profiles(self):
        """The gateways of the tables."""
        return [target for target in map(self.profile, self.asked()) if target]

    def fresh(self, names):
        """Nginx and these profiles, started anew for whom it matters what they did before; whoever asks ends them. Each has an upstream
        of its own: a proxy keeps thousands of connections for a while, and one address has ports for 28,000. They have had
        time to come to rest."""
        apart = lambda: upstream.start_stub(self.binary)[1]
        found = [nginx.start(self.folder, apart()), *(self.start(name, apart()) for name in names)]
        time.sleep(REST)
        return [target for target in found if target]

    def all(self):
        """Nginx and the profiles, in the order of the turns."""
        return [self.nginx(), *self.profiles()]

    def close(self):
        if self.postgres:
            self.postgres.remove()
