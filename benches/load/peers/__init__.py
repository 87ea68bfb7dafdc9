"""Other gateways, a folder each: its note, its configuration, and a module that says how it is installed and started.

They are installed below target/peers by `scripts/bench --install-peers`, each in the version that its module names, and left
out where that was not done. A peer's module has VERSION, LICENCE, `installed()`, `install()` and `start(folder, upstream)`.
"""
from . import litellm, portkey

PEERS = {"litellm": litellm, "portkey": portkey}


def install():
    """Installs what is not there yet."""
    for name, peer in PEERS.items():
        if not peer.installed():
            print(f"installing {name} {peer.VERSION}", flush=True)
            peer.install()
