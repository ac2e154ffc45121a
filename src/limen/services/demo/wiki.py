"""The wiki: pages that people read and write, one file each.

It stands for the app that one already has: it has never heard of Limen, and takes the user from the
header that the proxy in front of it sets (`Remote-User`, as behind Authelia).
"""

import re
import time
from html import escape
from pathlib import Path

import msgspec

from limen.services.demo import coffee
from limen.services.demo.web import (
    PAGE_HEADERS,
    Reply,
    Request,
    Response,
    html_page,
    read_style,
    see_other,
    text_page,
)

TEXT_MAX = 20_000  # characters of one page
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_LINK = re.compile(r"\[\[([^\[\]|]{1,64})\]\]")
_BOLD = re.compile(r"\*\*(.+?)\*\*")

FIRST_PAGES = {
    "home": """# The office wiki

Everything that is worth writing down. Anyone in **staff** can change a page; contractors read along.

- [[Onboarding]]: the first week
- [[Coffee machine]]: what to do when it blinks
- [[Incident notes]]: what we learned
""",
    "onboarding": """# Onboarding

Welcome! Four things for the first day:

- add a **passkey** under My apps: payroll will ask for one
- find your team's page, or start it
- read [[Incident notes]]; nobody is blamed there
- ask. Really.
""",
    "coffee-machine": """# Coffee machine

When it blinks twice, it wants water. When it blinks three times, it wants Grace.
""",
    "incident-notes": """# Incident notes

**The longest Tuesday.** A certificate nobody knew expired. Since then it renews itself, and so do we.
""",
}

STYLE = read_style("wiki.css")


class Wiki:
    """The app; `folder` holds the pages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for slug, text in FIRST_PAGES.items():
            if not (folder / f"{slug}.txt").exists():
                self._save(slug, text)

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        visitor = request.headers.get("remote-name") or request.headers.get("remote-user")
        if not visitor:
            return text_page("Nobody", "The wiki is reached through its proxy, which says who you are.", 401)
        match request.path.split("/")[1:]:
            case [""]:
                return self._show(request, "home", visitor)
            case ["live", *part]:
                return self._live(request, part, visitor)
            case ["page" | "edit" as kind, slug] if _SLUG.fullmatch(slug):
                return self._page_of(kind, request, slug, visitor)
        return text_page("No such page", "The wiki has pages under /page/, named with a-z, 0-9 and -.", 404)

    def _page_of(self, kind: str, request: Request, slug: str, visitor: str) -> Response:
        if request.method != "POST":
            return (self._show if kind == "page" else self._edit)(request, slug, visitor)
        if kind == "page":
            return self._keep(request, slug)
        return text_page("No such page", "A page is kept at /page/.", 404)

    def _show(self, request: Request, slug: str, visitor: str) -> Response:
        text = self._load(slug)
        if text is None:
            name = escape(slug.replace("-", " "))
            body = f'<h1>{name}</h1><p>Nobody has written this yet. <a href="/edit/{slug}">Begin</a>.</p>'
            return self._page(request, slug, body, visitor, status=404)
        body = f'{render_text(text)}<p><a href="/edit/{slug}">Change this page</a></p>'
        return self._page(request, slug, body, visitor)

    def _edit(self, request: Request, slug: str, visitor: str) -> Response:
        body = (
            f'<h1>Change {escape(slug)}</h1><form method="post" action="/page/{slug}">'
            f'<p><label for="text">Text</label></p><textarea id="text" name="text" maxlength="{TEXT_MAX}">'
            f"{escape(self._load(slug) or f'# {slug}')}</textarea><p><button>Keep</button></p></form>"
        )
        return self._page(request, slug, body, visitor)

    def _keep(self, request: Request, slug: str) -> Response:
        text = request.form.get("text", "")
        if not text.strip() or len(text) > TEXT_MAX:
            return text_page("Not kept", f"A page has between 1 and {TEXT_MAX} characters.", 400)
        self._save(slug, text.replace("\r\n", "\n"))
        return see_other(f"/page/{slug}")

    def _live(self, request: Request, part: list[str], visitor: str) -> Reply:
        match part:
            case []:
                page = self._page(request, "live", coffee.live_markup(time.time()), visitor)
                policy = {"Content-Security-Policy": coffee.LIVE_CSP}
                return msgspec.structs.replace(page, headers={**page.headers, **policy})
            case ["live.js"]:
                kind = {"Content-Type": "text/javascript; charset=utf-8"}
                return Response(coffee.SCRIPT, headers={**PAGE_HEADERS, **kind})
            case ["ticks"]:
                return coffee.ticks()
            case ["words"]:
                return coffee.display()
        return text_page("No such page", "What is live is under /live.", 404)

    def _page(self, request: Request, slug: str, body: str, visitor: str, *, status: int = 200) -> Response:
        links = " ".join(
            f'<a href="/page/{name}"{" aria-current=page" if name == slug else ""}>{name}</a>'
            for name in sorted(path.stem for path in self._folder.glob("*.txt"))[:50]
        )
        links += f' <a href="/live"{" aria-current=page" if slug == "live" else ""}>live</a>'
        return html_page(
            f"{slug} · wiki",
            STYLE,
            f"<b>Office wiki</b> <span>{escape(visitor)}</span>"
            f'<a href="{escape(request.hub_url)}">My apps</a>',
            body,
            status=status,
            footer=f'<footer><nav aria-label="All pages">{links}</nav></footer>',
        )

    def _load(self, slug: str) -> str | None:
        path = self._folder / f"{slug}.txt"
        return path.read_text("utf-8") if path.exists() else None

    def _save(self, slug: str, text: str) -> None:
        fresh = self._folder / f"{slug}.new"
        fresh.write_text(text, "utf-8")
        fresh.rename(self._folder / f"{slug}.txt")


def render_text(text: str) -> str:
    """Return wiki text as HTML: `# title`, `- item`, `**bold**`, `[[Page]]`; all else is text."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if block.startswith("# "):
            blocks.append(f"<h1>{_inline(lines[0][2:])}</h1>")
            lines = lines[1:]
        if lines and all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        elif lines:
            blocks.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(blocks)


def _inline(text: str) -> str:
    linked = _LINK.sub(lambda found: f'<a href="/page/{_slug(found[1])}">{found[1]}</a>', escape(text))
    return _BOLD.sub(r"<strong>\1</strong>", linked)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "home"
