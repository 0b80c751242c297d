"""A real registry on 127.0.0.1, reachable from the session's engine only (they share a network name space)."""
import json
import subprocess

import sandbox
from lines import Lines


class Registry:
    def __init__(self, directory, port=5000):
        self.address = f"127.0.0.1:{port}"
        self.process = self.log = None
        self._config = f"{directory}/registry.json"  # YAML reads JSON
        with open(self._config, "w") as f:
            json.dump({"version": 0.1, "log": {"level": "info"}, "http": {"addr": self.address},
                       "storage": {"filesystem": {"rootdirectory": f"{directory}/registry"}}}, f)

    def start(self):
        self.process = subprocess.Popen(["docker-registry", "serve", self._config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        preexec_fn=sandbox.die_with_parent)
        self.log = Lines(self.process.stdout)
        self.log.wait(lambda line: "listening on" in line, what="a listening registry")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.process = None
