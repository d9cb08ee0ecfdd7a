// Everything is there without this. It counts ages up, and fetches the live part again when there is something new.
"use strict";

const live = document.getElementById("live");
const state = document.getElementById("state");

// The server's clock counts, whatever the browser's shows.
let ahead = 0;
function setClock(millis) {
  if (millis > 0) ahead = Date.now() - millis;
}

// text is as the server's "ago".
function text(seconds) {
  const s = Math.max(seconds, 0);
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 120) return s.toFixed(0) + " s";
  if (s < 7200) return (s / 60).toFixed(0) + " min";
  if (s < 172800) return (s / 3600).toFixed(0) + " h";
  return (s / 86400).toFixed(0) + " d";
}

function tick() {
  const now = Date.now() - ahead;
  for (const t of live.querySelectorAll("time.since")) t.textContent = text((now - t.dataset.since) / 1000);
  for (const t of live.querySelectorAll("time.until")) {
    const left = (t.dataset.until - now) / 1000;
    t.textContent = left > 0 ? "in " + text(left) : text(-left) + " ago";
  }
}

let busy = false;
let again = false;
async function refresh(at) {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    const answer = await fetch(live.dataset.path, { headers: { "Fenceline-Part": "live" } });
    if (!answer.headers.get("Content-Type").startsWith("text/html")) throw new Error(answer.statusText);
    const html = await answer.text();
    const held = document.activeElement && live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.innerHTML = html;
    setClock(at);
    tick();
    if (held) {
      const same = live.querySelector('a[href="' + CSS.escape(held) + '"]');
      if (same) same.focus({ preventScroll: true });
    }
    state.textContent = "Live";
  } catch (why) {
    state.textContent = "Not live: " + why.message;
  } finally {
    busy = false;
    if (again) {
      again = false;
      refresh(at);
    }
  }
}

// A form that somebody fills in is not taken away from him.
if (!live.querySelector("form")) {
  const events = new EventSource("events");
  events.addEventListener("open", () => { state.textContent = "Live"; });
  events.addEventListener("look", (e) => refresh(Number(e.data)));
  events.addEventListener("error", () => { state.textContent = "Not live: the server does not answer"; });
  addEventListener("pagehide", () => events.close());
}
setInterval(tick, 1000);
