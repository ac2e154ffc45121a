"""How a person makes the development CA trusted, platform by platform: the text of `limen trust`."""

import shlex
from pathlib import Path
from typing import NamedTuple


class TrustStep(NamedTuple):
    """What to do on one platform; `commands` are ready to be pasted."""

    id: str
    title: str
    commands: tuple[str, ...]
    note: str = ""


def trust_steps(ca_file: Path, domain: str) -> tuple[TrustStep, ...]:
    """Return the steps of every platform, the local browser first."""
    ca = shlex.quote(str(ca_file))
    name = shlex.quote(f"Limen {domain}")
    nss = "sql:$HOME/.pki/nssdb"
    return (
        TrustStep("chromium", "Chromium and Chrome on Linux (this user only)", (
            "mkdir -p $HOME/.pki/nssdb",
            f"test -f $HOME/.pki/nssdb/cert9.db || certutil -d {nss} -N --empty-password",
            f"certutil -d {nss} -A -t C,, -n {name} -i {ca}",
        ), "certutil is in Debian's libnss3-tools and Fedora's nss-tools. Restart the browser."),
        TrustStep("firefox", "Firefox, on every platform", (),
            "Settings, Privacy & Security, View Certificates, Authorities, Import: choose "
            f"{ca_file} and tick 'identify websites'. On Windows and macOS Firefox also follows the system."),
        TrustStep("debian", "Debian, Ubuntu: curl, git and other programs", (
            f"sudo cp {ca} /usr/local/share/ca-certificates/limen-{domain}.crt",
            "sudo update-ca-certificates",
        )),
        TrustStep("rhel", "Fedora, RHEL: curl, git and other programs", (
            f"sudo cp {ca} /etc/pki/ca-trust/source/anchors/limen-{domain}.pem",
            "sudo update-ca-trust",
        )),
        TrustStep("macos", "macOS: Safari, Chrome, curl", (
            "security add-trusted-cert -r trustRoot "
            f"-k $HOME/Library/Keychains/login.keychain-db {ca}",
        ), "Safari does not look up names below .localhost by itself: add the hosts to /etc/hosts."),
        TrustStep("windows", "Windows: Edge, Chrome (PowerShell, this user only)", (
            f'Import-Certificate -FilePath "{ca_file.name}" -CertStoreLocation Cert:\\CurrentUser\\Root',
        ), f"Copy {ca_file} to the machine first."),
        TrustStep("once", "One command only, nothing installed", (
            f"curl --cacert {ca} https://auth.{domain}/",
            f"export GIT_SSL_CAINFO={ca} SSL_CERT_FILE={ca} REQUESTS_CA_BUNDLE={ca} PIP_CERT={ca}",
        )),
    )  # fmt: skip


def trust_text(ca_file: Path, domain: str) -> str:
    """Return the instructions as plain text for a terminal."""
    head = (
        f"This system's development CA is {ca_file}.\n"
        f"It can vouch for {domain} and the apps of this system only; "
        "a browser that trusts it trusts it for nothing else.\n"
    )
    return "\n".join([head, *(_section(step) for step in trust_steps(ca_file, domain))])


def _section(step: TrustStep) -> str:
    lines = [step.title, *(f"    {command}" for command in step.commands)]
    return "\n".join([*lines, *([f"    {step.note}"] if step.note else []), ""])
