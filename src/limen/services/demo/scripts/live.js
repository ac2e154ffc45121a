"use strict";

// The wiki's live page: a stream of moments from the machine, and a conversation with its display.

const part = (id) => document.getElementById(id);

const ticks = new EventSource("/live/ticks");
ticks.onopen = () => {
  part("ticks").textContent = "Live.";
};
ticks.onmessage = (event) => {
  for (const [name, text] of Object.entries(JSON.parse(event.data))) part(name).textContent = text;
};
ticks.onerror = () => {
  part("ticks").textContent =
    ticks.readyState === EventSource.CLOSED
      ? "The stream has ended. Reload this page to read why."
      : "The stream has ended. Asking whether it may go on …";
};

const talk = new WebSocket(`wss://${location.host}/live/words`);
talk.onopen = () => {
  part("say").hidden = false;
};
talk.onmessage = (event) => {
  part("display").hidden = false;
  part("display").textContent = event.data;
};
talk.onclose = () => {
  part("say").hidden = true;
  part("talk").textContent = "The line to the display has ended. Reload this page to read why.";
};
part("say").addEventListener("submit", (event) => {
  event.preventDefault();
  talk.send(part("words").value);
  part("words").value = "";
});
