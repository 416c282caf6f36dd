"""Runs the playbooks of deploy/ansible against real sshd's, each in namespaces of its own.

A "host" is an sshd on a loopback address with its own hostname, processes and /opt. Prints a line for
each case with its seconds; ends with 0 when all held, with 1 and the reason when one did not, and with
77 when this machine lets nobody make such namespaces.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE = 60
SERVER = r'''
import http.server, json, pathlib, sys
home = pathlib.Path(__file__).resolve().parent
version = (home / "VERSION").read_text().strip()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = pathlib.Path("/opt/sick")
        bad = sick.exists() and sick.read_text().strip() == version
        self.send_response(500 if bad else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"version": version}).encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer((sys.argv[1], 8080), Handler).serve_forever()
'''
RESTART = r'''#!/bin/sh
set -e
if [ -f /opt/app.pid ]; then
  kill -9 "$(cat /opt/app.pid)" 2>/dev/null || true
fi
setsid @PYTHON@ /opt/checkout/current/server.py @ADDRESS@ </dev/null >>/opt/app.log 2>&1 &
echo $! >/opt/app.pid
'''
HOST = r'''
set -e
hostname "$NAME"
mount --bind "$FOLDER/opt" /opt
mount --bind "$FOLDER/passwd" /etc/passwd
mount --bind "$FOLDER/shadow" /etc/shadow
# sshd starts itself anew for each connection, with an empty environment.
/sbin/ldconfig -C "$FOLDER/ld.so.cache" "$LD_LIBRARY_PATH"
mount --bind "$FOLDER/ld.so.cache" /etc/ld.so.cache
mount -t tmpfs none /run
mkdir -p /run/sshd
exec "$SSHD" -D -e -f "$FOLDER/sshd.conf"
'''


class Failed(Exception):
    """A promise that did not hold."""


def want(truth, what):
    if not truth:
        raise Failed(what)


def until(what, holds):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = holds()
        if value:
            return value
        time.sleep(0.1)
    raise Failed(f"not within {PATIENCE} s: {what}")


class Lab:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.tools = pathlib.Path(options.tools)
        library = (self.tools / "root/library-path").read_text().strip()
        self.env = dict(os.environ, LD_LIBRARY_PATH=str(self.tools / "root" / library), HOME=str(folder))
        self.children = []
        # A network of its own in 127/8, so that two labs do not meet.
        self.net = f"127.{random.randint(10, 250)}.{random.randint(1, 250)}"
        self.names = [f"vm-{number:02}" for number in range(1, options.hosts + 1)]
        self.sshds = {}

    def address(self, name):
        return f"{self.net}.{10 + self.names.index(name)}"

    def spawn(self, command, log, **more):
        with open(self.folder / log, "ab") as out:
            dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
            child = subprocess.Popen(dies_with_us + command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        self.children.append(child)
        return child

    def close(self):
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()

    # Hosts

    def make_hosts(self):
        key = self.folder / "key"
        subprocess.run(
            [self.tools / "bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], env=self.env, check=True
        )
        host_key = self.folder / "host_key"
        shutil.copy(key, host_key)
        host_key.chmod(0o600)
        python = self.python()
        for name in self.names:
            home = self.folder / name
            (home / "opt/root").mkdir(parents=True)
            shell = "/bin/sh"
            (home / "passwd").write_text(
                f"root:x:0:0:root:/opt/root:{shell}\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n"
            )
            (home / "shadow").write_text("root:*:19000::::::\nsshd:*:19000::::::\n")
            (home / "sshd.conf").write_text(
                f"ListenAddress {self.address(name)}\nPort 2222\nUsePAM no\nStrictModes no\n"
                f"PermitRootLogin yes\nPasswordAuthentication no\nHostKey {host_key}\n"
                f"AuthorizedKeysFile {key}.pub\nPidFile none\nSubsystem sftp internal-sftp\nUseDNS no\nMaxStartups 100\n"
            )
            restart = home / "opt/restart"
            restart.write_text(RESTART.replace("@PYTHON@", python).replace("@ADDRESS@", self.address(name)))
            restart.chmod(0o755)
            self.start_host(name)
        for name in self.names:
            self.wait_for_host(name)

    def python(self):
        return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

    def start_host(self, name):
        home = self.folder / name
        env = dict(self.env, NAME=name, FOLDER=str(home), SSHD=str((self.tools / "bin/sshd").resolve()))
        self.sshds[name] = self.spawn(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
             "--propagation", "private", "sh", "-c", HOST],
            f"{name}/sshd.log", env=env,
        )

    def wait_for_host(self, name):
        def answers():
            if self.sshds[name].poll() is not None:
                raise Failed(f"{name}: " + (self.folder / name / "sshd.log").read_text()[-500:])
            with contextlib.suppress(OSError), socket.create_connection((self.address(name), 2222), 2) as it:
                return it.recv(4) == b"SSH-"
        until(f"sshd of {name}", answers)

    def stop_host(self, name):
        self.sshds[name].kill()
        self.sshds[name].wait()
        # What stood below it is gone too: they share its process namespace.
        until(f"{name} is gone", lambda: not self.answers(name))

    def answers(self, name):
        with contextlib.suppress(OSError), socket.create_connection((self.address(name), 2222), 1):
            return True
        return False

    def sick(self, name, version):
        (self.folder / name / "opt/sick").write_text(version)

    def runs(self, name):
        """The version its process tells, and the release its link leads to."""
        link = self.folder / name / "opt/checkout/current"
        leads = os.readlink(link).split("/")[-1] if link.is_symlink() else None
        try:
            with urllib.request.urlopen(f"http://{self.address(name)}:8080/healthz", timeout=5) as answer:
                return json.load(answer)["version"], leads
        except (OSError, ValueError):
            return None, leads

    # Releases

    def serve_artifacts(self):
        (self.folder / "artifacts").mkdir()
        lab = self
        self.fetched = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(lab.folder / "artifacts"))

            def do_GET(self):
                lab.fetched.append(self.path)
                super().do_GET()

            def log_message(self, *_args):
                pass

        self.artifacts = serve(Handler)

    def release(self, version):
        file = self.folder / "artifacts" / f"checkout-{version}.tar.gz"
        tree = self.folder / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "server.py").write_text(SERVER)
        (tree / "VERSION").write_text(version)
        with tarfile.open(file, "w:gz") as tar:
            for name in ("server.py", "VERSION"):
                tar.add(tree / name, name)
        return {
            "backstop_release_id": f"checkout@{version}",
            "backstop_release_artifact_url": f"{self.artifacts}/{file.name}",
            "backstop_release_checksum": hashlib.sha256(file.read_bytes()).hexdigest(),
        }

    # Gateway

    def start_gateway(self):
        home = self.folder / "gateway"
        home.mkdir()
        (home / "token").write_text("let-me-in")
        (home / "backstop.yaml").write_text(
            "auth:\n  tokens: [{name: all, token: {file: token}, scopes: [read, deploy]}]\n"
            f"store: {{url: 'file:{home}/store'}}\nservices:\n  checkout:\n    application: checkout\n"
            "    deploy: [{pipeline: deploy-prod, env: prod, strategy: canary, release: '{parameters.release_id}'}]\n"
            "timing: {catalog_refresh: 200ms}\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.gateway = f"http://127.0.0.1:{port}"
        self.spawn(
            [self.options.backstop, "serve", f"--config.file={home}/backstop.yaml", f"--web.listen-address=127.0.0.1:{port}"],
            "gateway.log", cwd=home, env={"PATH": os.environ["PATH"]},
        )
        until("the gateway", lambda: self.get("/-/ready", plain=True))

    def get(self, path, plain=False):
        request = urllib.request.Request(self.gateway + path, headers={"Authorization": "Bearer let-me-in"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read() if plain else json.load(answer)
        return None

    def record(self, deployment, name):
        """The newest record of a host: its status, health and error."""
        folder = self.folder / f"gateway/store/instances/checkout/prod/{deployment}/{name}"
        links = sorted(folder.glob("*.json"))
        return json.loads(links[-1].read_text())["body"] if links else {}

    # Ansible

    def play(self, playbook, deployment, facts, *flags, gateway=None):
        facts = {
            "backstop_release_gateway": gateway or self.gateway,
            "backstop_release_token": "let-me-in",
            "backstop_release_deployment": deployment,
            "backstop_release_restart_command": ["/opt/restart"],
            "backstop_release_health_http": "http://{{ ansible_host }}:8080/healthz",
            "backstop_release_health_http_version": "json:/version",
            "backstop_release_health_interval": 0.2,
            "backstop_release_health_start_period": 5,
            "backstop_release_health_healthy_for": 0.4,
            "backstop_release_health_within": 60,
            "backstop_release_keep": 2,
            "backstop_soak": 0.2,
            "backstop_become": False,
            **facts,
        }
        # A health check that fails for good shall not wait for the whole start period.
        if "backstop_sick" in facts:
            facts["backstop_release_health_start_period"] = 1.5
        inventory = {"all": {"hosts": {name: {"ansible_host": self.address(name)} for name in self.names}, "vars": {
            "ansible_port": 2222, "ansible_user": "root", "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_python_interpreter": self.python(), "ansible_ssh_executable": str(self.tools / "bin/ssh"),
            "ansible_remote_tmp": "/opt/.ansible", "ansible_ssh_transfer_method": "piped"}}}
        (self.folder / "hosts.json").write_text(json.dumps(inventory))
        (self.folder / "facts.json").write_text(json.dumps(facts))
        env = dict(self.env, ANSIBLE_HOST_KEY_CHECKING="False", ANSIBLE_NOCOLOR="1", ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.folder / "c"),
                   ANSIBLE_HOME=str(self.folder / "ansible"), ANSIBLE_LOCAL_TEMP=str(self.folder / "ansible/tmp"), LC_ALL="C.UTF-8",
                   ANSIBLE_CONFIG=str(pathlib.Path(self.options.playbooks) / "ansible.cfg"))
        done = subprocess.run(
            [self.tools / "lint/bin/ansible-playbook", "-i", self.folder / "hosts.json", "-e", f"@{self.folder / 'facts.json'}",
             "-e", f"ansible_ssh_common_args='-F none -o UserKnownHostsFile={self.folder / 'known'}'", *flags, playbook],
            cwd=self.options.playbooks, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )
        said = done.stdout + done.stderr
        with open(self.folder / "ansible.log", "a", encoding="utf-8") as log:
            log.write(said)
        return done.returncode, said

    # What has to hold

    def first_rollout(self):
        code, said = self.play("deploy.yml", "E1", self.release("1"))
        want(code == 0, said[-3000:])
        for name in self.names:
            want(self.runs(name) == ("1", "checkout@1"), f"{name} runs {self.runs(name)}")
            record = self.record("E1", name)
            want((record["status"], record["health_status"]) == ("success", "healthy"), f"{name}: {record}")
            want(record["from"] and not record.get("to"), f"{name}: {record}")
        sizes = [len(self.batch_hosts("E1", number)) for number in (1, 2, 3)]
        rest = len(self.names) - sizes[0] - sizes[1]
        want(sizes == [max(1, len(self.names) * 5 // 100), max(1, len(self.names) * 20 // 100), rest], f"batches of {sizes}")

    def install_everywhere(self):
        """All at once, as a rollback goes."""
        code, said = self.play("rollback.yml", "E0", self.release("1"))
        want(code == 0, said[-3000:])
        for name in self.names:
            want(self.runs(name) == ("1", "checkout@1"), f"{name} runs {self.runs(name)}")
            want(self.record("E0", name)["status"] == "success", self.record("E0", name))

    def batch_hosts(self, deployment, number):
        links = sorted((self.folder / "gateway/store/lanes").rglob("*.json"))
        for link in links:
            text = json.loads(link.read_text())["body"]
            event = json.dumps(text)
            if f'"{deployment}"' in event and f'"n": {number}' in event:
                return [name for name in self.names if f'"{name}"' in event]
        raise Failed(f"batch {number} of {deployment} was never announced")

    def unwell_host_stops_it_and_is_back(self):
        """In batch 2 a host is not well on the new release."""
        self.play_two_batches_bad("E2", "2")

    def play_two_batches_bad(self, deployment, version):
        first, second, third = self.members()
        self.sick(second[0], version)
        code, said = self.play("deploy.yml", deployment, {**self.release(version), "backstop_sick": True})
        want(code != 0 and f"not healthy: http://{self.address(second[0])}:8080/healthz answers 500" in said, said[-3000:])
        for name in first:
            want(self.runs(name) == (version, f"checkout@{version}"), f"{name} runs {self.runs(name)}")
        want(self.runs(second[0]) == ("1", "checkout@1"), f"{second[0]} runs {self.runs(second[0])}")
        record = self.record(deployment, second[0])
        want((record["status"], record["health_status"]) == ("rolled_back", "unhealthy"), record)
        want("answers 500" in record["error_message"] and record["from"] and record["to"], record)
        for name in third:
            want(self.runs(name) == ("1", "checkout@1"), f"{name} runs {self.runs(name)}")
            want(not self.record(deployment, name), f"{name} was touched")

    def rollback_takes_the_batch_back(self):
        """To a release that is still on the hosts: nothing is fetched."""
        first, second, _ = self.members()
        self.fetched.clear()
        code, said = self.play("rollback.yml", "E3", self.release("1"), "--limit", ",".join(first + second))
        want(code == 0, said[-3000:])
        want(not self.fetched, f"fetched {self.fetched}")
        for name in self.names:
            want(self.runs(name) == ("1", "checkout@1"), f"{name} runs {self.runs(name)}")
        want(self.record("E3", first[0])["status"] == "success", self.record("E3", first[0]))

    def unreachable_host_stops_it(self):
        """One of batch 2 is gone: none of that batch is touched, and batch 3 never starts."""
        first, second, third = self.members()
        gone = second[-1]
        self.stop_host(gone)
        try:
            code, said = self.play("deploy.yml", "E4", {**self.release("4"), "backstop_reach_timeout": 3})
            want(code != 0, said[-3000:])
            for name in first:
                want(self.runs(name) == ("4", "checkout@4"), f"{name} runs {self.runs(name)}")
            for name in second[:-1] + third:
                want(self.runs(name) == ("1", "checkout@1"), f"{name} runs {self.runs(name)}")
                want(not self.record("E4", name), f"{name} was touched")
        finally:
            self.start_host(gone)
            self.wait_for_host(gone)
            subprocess.run([self.tools / "bin/ssh", "-F", "none", "-p", "2222", "-i", self.folder / "key", "-o", "StrictHostKeyChecking=no",
                            "-o", f"UserKnownHostsFile={self.folder / 'known'}", f"root@{self.address(gone)}", "/opt/restart"],
                           env=self.env, check=True, capture_output=True)
            until(f"{gone} serves again", lambda: self.runs(gone)[0])

    def another_artifact_is_refused(self):
        first, _, _ = self.members()
        before = self.runs(first[0])
        facts = {**self.release("5"), "backstop_release_checksum": "0" * 64}
        code, said = self.play("deploy.yml", "E5", facts)
        want(code != 0 and "checksum" in said, said[-3000:])
        want(self.runs(first[0]) == before, f"{first[0]} runs {self.runs(first[0])}")
        releases = self.folder / first[0] / "opt/checkout/releases"
        want(not (releases / "checkout@5").exists(), "what could not be verified was kept")
        record = self.record("E5", first[0])
        want(record["status"] == "failed" and record["from"] == record["to"], record)

    def an_incident_stops_it(self):
        """The gateway lets the batch start, and says while it is watched that it was stopped."""
        gateway = Stopping()
        first, second, _ = self.members()
        before = [self.runs(name) for name in second]
        code, said = self.play("deploy.yml", "E6", {**self.release("6"), "backstop_soak": 60}, gateway=gateway.url)
        want(code != 0 and "batch 1 is aborted: taken back" in said, said[-3000:])
        want(gateway.batches == ["1"], f"announced: {gateway.batches}")
        want(self.runs(first[0])[0] == "6", f"{first[0]} runs {self.runs(first[0])}")
        want([self.runs(name) for name in second] == before, "batch 2 was touched")
        kept = sorted(path.name for path in (self.folder / first[0] / "opt/checkout/releases").iterdir())
        want(len(kept) == 2 and "checkout@6" in kept, f"kept {kept}")

    def members(self):
        one = max(1, len(self.names) * 5 // 100)
        two = max(1, len(self.names) * 20 // 100)
        return self.names[:one], self.names[one : one + two], self.names[one + two :]


class Stopping:
    """A gateway that stops the deployment at the third question."""

    def __init__(self):
        self.batches, self.asked = [], 0
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/instances"):
                    return self.answer(200, {"recorded": 1})
                fake.batches.append(self.path.split("/")[-1])
                return self.answer(202, {"status": "arming", "progress": "the rules are not loaded"})

            def do_GET(self):
                fake.asked += 1
                if fake.asked == 1:
                    return self.answer(503, {"code": "unavailable"})
                if fake.asked < 4:
                    return self.answer(200, {"status": "armed", "progress": ""})
                return self.answer(200, {"status": "aborted", "progress": "taken back"})

            def answer(self, code, body):
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_args):
                pass

        self.url = serve(Handler)


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def may_make_namespaces():
    probe = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--propagation", "private", "sh", "-c",
             "hostname probe && mount --bind /tmp /opt && mount -t tmpfs none /run"]
    try:
        return os.getuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


CASES = ["install_everywhere", "unwell_host_stops_it_and_is_back", "unreachable_host_stops_it"]
MORE = ["first_rollout", "unwell_host_stops_it_and_is_back", "rollback_takes_the_batch_back", "unreachable_host_stops_it",
        "another_artifact_is_refused", "an_incident_stops_it"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("tools", "playbooks", "backstop"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--hosts", type=int, default=5)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the folder, and say where it is")
    options = parser.parse_args()
    if not may_make_namespaces():
        print("this machine lets nobody make mount, UTS and process namespaces (root and unshare are needed)")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Short: paths of sockets below it may have 108 bytes.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bl-", dir="/tmp"))
    lab = Lab(options, folder)
    try:
        lab.serve_artifacts()
        lab.make_hosts()
        lab.start_gateway()
        for case in MORE if options.all else CASES:
            begin = time.monotonic()
            getattr(lab, case)()
            print(f"{case}: {time.monotonic() - begin:.1f} s", flush=True)
    except Failed as failed:
        print(failed)
        return 1
    finally:
        lab.close()
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
