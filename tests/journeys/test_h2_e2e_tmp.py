import base64, html, threading, time, sys, tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit
import httpx, pytest
import saml_forger as forger
from demo_rig import running_demo, browser_home, CHROMIUM, CHROMIUM_ARGUMENTS, code_of
from journey_rig import apply_bundle
from mellon_rig import Mellon, mellon_folder

class Idp(BaseHTTPRequestHandler):
    def do_GET(self):
        if not self.path.startswith("/sso"): self.send_response(404); self.end_headers(); return
        asked = forger.read_request("http://x" + self.path)
        said = forger.Said(asked.ident, asked.consumer, asked.issuer, time.time(), issuer="http://idp", name_id="hedy", context="https://refeds.org/profile/mfa", attributes={"groups": ("staff",), "displayName": ("Hedy",), "email": ("hedy@corp.example",)})
        xml = forger.response(said, forger.party("e2e"))
        fields = forger.form(xml, asked.relay_state)
        body = f'<form method=post action="{asked.consumer}">' + "".join(f'<input type=hidden name={k} value="{html.escape(v)}">' for k, v in fields.items()) + "</form><script>document.forms[0].submit()</script>"
        self.send_response(200); self.send_header("content-type", "text/html"); self.end_headers(); self.wfile.write(body.encode())
    def log_message(self, *a): pass

def test_it():
    from playwright.sync_api import sync_playwright
    server = HTTPServer(("127.0.0.1", 0), Idp); threading.Thread(target=server.serve_forever, daemon=True).start()
    idp = f"http://127.0.0.1:{server.server_port}"
    meta = forger.idp_metadata(forger.party("e2e"), "http://idp").replace(forger.SSO, idp + "/sso")
    with running_demo() as demo, mellon_folder() as folder:
        mellon = Mellon(folder)
        def change(c):
            c["saml"] = {"corp": {"metadata": "corp.xml", "title": "Corp SAML"}}
            c["clients"] = {"crm": {"title": "CRM", "allow": ["group:staff"], "saml": {"metadata": "crm.xml", "attributes": {"mail": "email", "groups": "groups"}}}}
        apply_bundle(demo, change, {"corp.xml": meta, "crm.xml": mellon.metadata})
        r = demo.limen("saml", "metadata"); assert r.returncode == 0, r.stderr
        r2 = demo.limen("saml", "metadata", "corp"); assert r2.returncode == 0, r2.stderr; print(r2.stdout[:600])
        print(demo.limen("saml", "keys").stdout)
        print(demo.limen("saml", "rotate", "--reason", "yearly").stdout)
        with mellon.run(r.stdout), browser_home(demo.ca_file) as env, sync_playwright() as p:
            b = p.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_ARGUMENTS, env=env)
            page = b.new_page()
            page.on("console", lambda m: print("console", m.text))
            page.goto(f"{mellon.origin}/secret")
            print("at", page.url)
            page.get_by_role("link", name="Corp SAML").click()
            page.wait_for_url(f"{mellon.origin}/secret", timeout=15000)
            print("in", page.url, page.content()[:100])
            print(demo.admin.get("/v1/people/hedy"))
            print([ (d["action"], d["resource"], d["verdict"]) for d in demo.decisions() if "crm" in d["resource"]])
            page.goto(f"{mellon.origin}/mellon/logout?ReturnTo={mellon.origin}/")
            print("out", page.url)
            page.goto(demo.auth_url + "/account"); print("account", page.url)
            b.close()
        print(mellon.log()[-800:])
        for e in demo.admin.get("/v1/events", since_s=600)[:12]: print(e["kind"], e.get("target"), e.get("data"))
