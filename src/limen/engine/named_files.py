"""Files of a bundle that `limen.yaml` names: certificates, SAML metadata, key sets."""

from collections.abc import Mapping

from limen.engine.forms import nearest
from limen.engine.read_forms import Log, Path


class NamedFiles:
    """Reads what is named, and notes in the log what cannot be."""

    def __init__(self, files: Mapping[str, str], log: Log) -> None:
        self._files = files
        self.log = log

    def text(self, file: str | None, path: Path) -> str | None:
        """Return the content of a file that the value at `path` names."""
        if file is None:
            return None
        self.log.named_files |= {file}
        text = self._files.get(file)
        if text is None:
            ending = file[file.rindex(".") :]
            near = nearest(file, (name for name in self._files if name.endswith(ending)))
            remedy = f"Did you mean `{near}`?" if near else "Put the file into the bundle's folder."
            self.log.wrong(path, f"The bundle has no file `{file}`.", remedy)
        elif "PRIVATE KEY-----" in text:
            said = "Leave only certificates: a bundle is no place for keys."
            self.log.wrong(path, f"`{file}` holds a private key.", said)
            return None
        return text

    def pem(self, file: str | None, path: Path) -> str | None:
        """Return certificates."""
        text = self.text(file, path)
        if text is not None and "-----BEGIN CERTIFICATE-----" not in text:
            remedy = "It has lines BEGIN CERTIFICATE and END CERTIFICATE."
            self.log.wrong(path, f"`{file}` holds no PEM certificate.", remedy)
        return text
