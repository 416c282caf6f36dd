"""A real SMTP server (aiosmtpd) that keeps every mail as a file.

Run as: smtp_server.py PORT DIRECTORY [--user NAME --password WORD] [--cert FILE --key FILE]

Each accepted mail becomes DIRECTORY/<n>.eml, byte for byte, and DIRECTORY/<n>.json, its envelope;
the .eml is renamed into place last, so whoever sees it can read both. DIRECTORY/behaviour.json,
read anew for every command, makes the server misbehave on purpose:

  {"refuse": ["bob@example.com"],        550 to these recipients
   "replies": {"MAIL": "451 busy"},      this reply to EHLO (hello), MAIL, RCPT or DATA
   "delays_ms": {"DATA": 1500}}          wait before answering that command
"""

import argparse
import asyncio
import json
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Keeper:
    """Answers each command as behaviour.json says and writes down what was accepted."""

    def __init__(self, directory):
        self.directory = directory
        self.behaviour_file = os.path.join(directory, "behaviour.json")
        self.count = sum(name.endswith(".eml") for name in os.listdir(directory))

    def behaviour(self):
        try:
            with open(self.behaviour_file, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    async def wanted_reply(self, command):
        behaviour = self.behaviour()
        await asyncio.sleep(behaviour.get("delays_ms", {}).get(command, 0) / 1000)
        return behaviour.get("replies", {}).get(command)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        reply = await self.wanted_reply("EHLO")
        if reply:
            return [reply]
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        reply = await self.wanted_reply("MAIL")
        if reply:
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = await self.wanted_reply("RCPT")
        if reply:
            return reply
        if address in self.behaviour().get("refuse", []):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        reply = await self.wanted_reply("DATA")
        if reply:
            return reply
        self.count += 1
        number = self.count
        user = getattr(session.auth_data, "login", None)
        facts = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": user.decode() if user else None,
        }
        self.write(f"{number:06}.json", json.dumps(facts).encode())
        self.write(f"{number:06}.eml", envelope.original_content)
        return f"250 2.0.0 kept as {number}"

    def write(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path + ".part", "wb") as file:
            file.write(content)
        os.rename(path + ".part", path)


def authenticator(name, word):
    def authenticate(server, session, envelope, mechanism, data):
        known = getattr(data, "login", None) == name.encode() and getattr(data, "password", None) == word.encode()
        return AuthResult(success=known, handled=False, auth_data=data if known else None)

    return authenticate


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("directory")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    arguments = parser.parse_args()

    keeper = Keeper(arguments.directory)
    options = {"hostname": "localhost", "enable_SMTPUTF8": True, "data_size_limit": 33554432}
    if arguments.user:
        options["authenticator"] = authenticator(arguments.user, arguments.password)
        options["auth_required"] = True
        options["auth_require_tls"] = arguments.cert is not None
    if arguments.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.cert, arguments.key)
        options["tls_context"] = context
        options["require_starttls"] = True
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(keeper, **options), host="127.0.0.1", port=arguments.port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
