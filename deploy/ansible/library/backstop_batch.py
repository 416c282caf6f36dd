#!/usr/bin/python
"""Announces a batch to Backstop, waits until it may start, and afterwards watches what becomes of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backstop_batch
short_description: Announce a batch to Backstop and wait for its word
description:
  - C(announce) makes the batch and its hosts known, and waits until its canary rules are proven to be evaluated.
  - C(watch) asks again and again for I(seconds) and fails as soon as an incident has stopped the deployment.
  - C(record) tells how far hosts came.
  - A gateway that does not answer, or answers 5xx, is asked again until I(timeout); it never counts as a yes.
options:
  state: {description: What to do., type: str, required: true, choices: [announce, watch, record]}
  url: {description: The gateway's address., type: str, required: true}
  token: {description: A token with the scope C(deploy)., type: str, required: true}
  ca_path: {description: PEM of the authorities trusted for the gateway., type: path}
  deployment: {description: The deployment; of Spinnaker the execution., type: str, required: true}
  batch: {description: Its ordinal from 1 on., type: int, required: true}
  body: {description: What is posted., type: dict, default: {}}
  seconds: {description: How long to watch., type: float, default: 0}
  interval: {description: Seconds between two questions., type: float, default: 2}
  timeout: {description: Longest wait in seconds., type: float, default: 300}
author: Backstop
"""
EXAMPLES = r"""
- backstop_batch:
    state: watch
    url: https://backstop.example.com
    token: "{{ backstop_token }}"
    deployment: 01KBD2
    batch: 1
    seconds: 600
"""
RETURN = r"""
status:
  description: The batch's last status.
  returned: success
  type: str
"""

import json
import time
import urllib.error

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

GO = ("armed", "running", "succeeded")
STOP = ("failed", "rolled_back", "aborted", "canceled")
SPEC = {
    "state": {"type": "str", "required": True, "choices": ["announce", "watch", "record"]},
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "ca_path": {"type": "path"},
    "deployment": {"type": "str", "required": True},
    "batch": {"type": "int", "required": True},
    "body": {"type": "dict", "default": {}},
    "seconds": {"type": "float", "default": 0},
    "interval": {"type": "float", "default": 2},
    "timeout": {"type": "float", "default": 300},
}


class Gateway:
    def __init__(self, module):
        self.module, self.p = module, module.params
        self.begin = time.monotonic()
        base = f"{self.p['url'].rstrip('/')}/api/v1/deployments/{self.p['deployment']}"
        self.batch = f"{base}/batches/{self.p['batch']}"
        self.instances = f"{base}/instances"

    def waited(self):
        return time.monotonic() - self.begin

    def once(self, method, url, body):
        """The answer, or (None, why it may be asked again)."""
        headers = {"Authorization": f"Bearer {self.p['token']}", "Content-Type": "application/json"}
        try:
            answer = open_url(
                url, method=method, data=body, headers=headers, timeout=10, follow_redirects="none",
                ca_path=self.p["ca_path"], use_proxy=False,
            )
            return json.loads(answer.read()), None
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:500]
            if error.code < 500 and error.code != 429:
                self.module.fail_json(msg=f"Backstop refuses ({error.code}): {said}")
            return None, f"Backstop answers {error.code}: {said}"
        except (OSError, ValueError) as error:
            return None, f"Backstop can't be asked: {error}"

    def ask(self, method, url, body=None):
        """Asks until there is an answer. Everything here may be repeated without harm."""
        body = None if body is None else json.dumps(body).encode()
        while True:
            answer, why = self.once(method, url, body)
            if answer is not None:
                return answer
            if self.waited() >= self.p["timeout"] + self.p["seconds"]:
                self.module.fail_json(msg=why)
            time.sleep(self.p["interval"])

    def status(self, answer):
        status = answer.get("status")
        if status in STOP:
            self.module.fail_json(msg=f"batch {self.p['batch']} is {status}: {answer.get('progress', '')}", status=status)
        return status

    def announce(self):
        answer = self.ask("POST", self.batch, self.p["body"])
        while self.status(answer) not in GO:
            if self.waited() >= self.p["timeout"]:
                self.module.fail_json(msg=f"batch {self.p['batch']} is still {answer.get('status')}: {answer.get('progress', '')}")
            time.sleep(self.p["interval"])
            answer = self.ask("GET", self.batch)
        return answer

    def watch(self):
        while True:
            answer = self.ask("GET", self.batch)
            self.status(answer)
            left = self.p["seconds"] - self.waited()
            if left <= 0:
                return answer
            time.sleep(min(left, self.p["interval"]))

    def record(self):
        return self.ask("POST", self.instances, self.p["body"])


def main():
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, status="running")
    gateway = Gateway(module)
    answer = getattr(gateway, module.params["state"])()
    module.exit_json(changed=module.params["state"] != "watch", status=answer.get("status", ""), progress=answer.get("progress", ""))


if __name__ == "__main__":
    main()
