#!/usr/bin/python
"""Waits until what runs on the host is well and stays so, by the rules of `backstop agent`."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backstop_health
short_description: Wait until a release is healthy and stays so
description:
  - Checks by HTTP, TCP and a command; all that are given must pass.
  - Failures within I(start_period) do not count; after it I(retries) in a row are a failure.
  - It is healthy once it has passed for I(healthy_for) without a failure, within I(within) at the latest.
options:
  release_id: {description: The release that must run., type: str, required: true}
  version: {description: Its version, as the health check tells it., type: str, required: true}
  root: {description: The folder with C(releases/) and C(current)., type: path, required: true}
  http: {description: An address that answers 2xx., type: str}
  http_version:
    description: Where the answer tells the version. C(body), C(header:NAME) or C(json:POINTER).
    type: str
  tcp: {description: C(HOST:PORT) that takes connections., type: str}
  command: {description: A program with its arguments that ends with 0., type: list, elements: str}
  interval: {description: Seconds between checks., type: float, default: 2}
  timeout: {description: Longest wait for one check in seconds., type: float, default: 2}
  start_period: {description: Seconds., type: float, default: 10}
  retries: {description: Failures in a row., type: int, default: 3}
  healthy_for: {description: Seconds., type: float, default: 10}
  within: {description: Seconds., type: float, default: 300}
author: Backstop
"""
EXAMPLES = r"""
- backstop_health:
    release_id: checkout@2.0.0
    version: 2.0.0
    root: /opt/checkout
    http: http://127.0.0.1:8080/healthz
    http_version: json:/version
"""
RETURN = r"""
took:
  description: Seconds until it counted as healthy.
  returned: success
  type: float
"""

import http.client
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

LONGEST_ANSWER = 1 << 20


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is no 2xx."""

    def redirect_request(self, *_args, **_kwargs):
        return None


def told_version(answer, body, where):
    """The version that an answer tells, or what is wrong with it."""
    if where == "body":
        return body.decode("utf-8", "replace").strip(), None
    kind, _, name = where.partition(":")
    if kind == "header":
        found = answer.headers.get(name)
        return found, None if found else f"the answer has no header `{name}`"
    try:
        value = json.loads(body)
        for part in name.lstrip("/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError):
        return None, f"the answer has nothing at `{name}`"
    return str(value), None


def by_http(p):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect())
    try:
        with opener.open(p["http"], timeout=p["timeout"]) as answer:
            body = answer.read(LONGEST_ANSWER)
            if not p["http_version"]:
                return None
            version, wrong = told_version(answer, body, p["http_version"])
    except urllib.error.HTTPError as error:
        return f"{p['http']} answers {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"{p['http']}: {getattr(error, 'reason', None) or error}"
    if wrong:
        return wrong
    if version not in (p["version"], p["release_id"]):
        return f"version {version} runs, not {p['version']}"
    return None


def by_tcp(p):
    host, _, port = p["tcp"].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), p["timeout"]).close()
    except OSError as error:
        return f"{p['tcp']}: {error}"
    return None


def by_command(p):
    seen = dict(os.environ, BACKSTOP_ROOT=p["root"], BACKSTOP_RELEASE=p["release_id"], BACKSTOP_VERSION=p["version"])
    try:
        done = subprocess.run(p["command"], env=seen, timeout=p["timeout"], capture_output=True, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"`{p['command'][0]}`: {error}"
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-200:]
        return f"`{p['command'][0]}` ended with {done.returncode}: {said}"
    return None


def check(p):
    """What is wrong now, or None."""
    for name, how in (("http", by_http), ("tcp", by_tcp), ("command", by_command)):
        if p[name]:
            wrong = how(p)
            if wrong:
                return wrong
    return None


def main():
    module = AnsibleModule(
        argument_spec={
            "release_id": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "http": {"type": "str"},
            "http_version": {"type": "str"},
            "tcp": {"type": "str"},
            "command": {"type": "list", "elements": "str"},
            "interval": {"type": "float", "default": 2},
            "timeout": {"type": "float", "default": 2},
            "start_period": {"type": "float", "default": 10},
            "retries": {"type": "int", "default": 3},
            "healthy_for": {"type": "float", "default": 10},
            "within": {"type": "float", "default": 300},
        },
        required_one_of=[("http", "tcp", "command")],
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=False, took=0.0)
    begin = time.monotonic()
    well_since, failures = None, 0
    while True:
        asked = time.monotonic()
        wrong = check(p)
        now = time.monotonic()
        if wrong is None:
            well_since = asked if well_since is None else well_since
            failures = 0
            if now - well_since >= p["healthy_for"]:
                module.exit_json(changed=False, took=round(now - begin, 1))
        else:
            well_since = None
            failures += 1 if asked - begin >= p["start_period"] else 0
            if failures >= p["retries"]:
                module.fail_json(msg=f"not healthy: {wrong}")
        if now - begin >= p["within"]:
            module.fail_json(msg=f"not healthy within {p['within']:g} s: {wrong or 'it did not stay so'}")
        time.sleep(p["interval"])


if __name__ == "__main__":
    main()
