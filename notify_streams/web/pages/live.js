// Shows the events of /region/events: sections of the page that have changed.
"use strict";
{
  const silentMs = 15_000;
  const longestWaitMs = 30_000;
  const updated = document.getElementById("updated");
  const pause = document.getElementById("pause");
  const announced = document.getElementById("announced");
  const waiting = new Map(); // section → HTML that came while its text was selected
  let source = null;
  let timer = 0;
  let failures = 0;
  let paused = false;
  let last = updated.dataset.at; // the time of the latest verdict
  let title = document.title; // its title, which begins with a sign and a blank

  function connect() {
    clearTimeout(timer);
    source?.close();
    source = new EventSource("/region/events");
    source.addEventListener("region", (event) => {
      watch();
      show(JSON.parse(event.data));
    });
    source.addEventListener("error", again);
    watch();
  }

  function watch() {
    clearTimeout(timer);
    timer = setTimeout(again, silentMs);
  }

  // The sign of a verdict that is not followed any more must not look like that of the present one, also in a row of tabs.
  function old() {
    document.title = `– ${last} UTC: ${title.slice(2)}`;
    document.getElementById("s-verdict").classList.add("old");
  }

  function again() {
    disconnect();
    old();
    if (failures === 0) announced.textContent = "This page gets no more news.";
    updated.textContent = `no response since ${last} UTC`;
    updated.classList.add("lost");
    const waitMs = Math.min(longestWaitMs, 1000 * 2 ** failures++) * (0.75 + Math.random() / 4);
    timer = setTimeout(connect, waitMs);
  }

  function disconnect() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function leave() {
    disconnect();
    old();
  }

  function show(event) {
    const before = document.getElementById("headline").textContent;
    for (const [name, html] of Object.entries(event.sections)) waiting.set(name, html);
    exchangeAll();
    title = event.title;
    if (event.at !== last) {
      last = event.at;
      failures = 0;
      updated.textContent = `as of ${last} UTC`;
      updated.classList.remove("lost");
    }
    if (failures === 0) {
      document.title = title;
      document.getElementById("s-verdict").classList.remove("old");
    }
    const headline = document.getElementById("headline").textContent;
    if (headline !== before) announced.textContent = headline;
  }

  function exchangeAll() {
    for (const [name, html] of waiting) {
      const section = document.getElementById(`s-${name}`);
      if (isSelected(section)) continue;
      waiting.delete(name);
      exchange(section, html);
    }
  }

  function isSelected(section) {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(section, true);
  }

  function exchange(section, html) {
    const focusable = "a[href], button, summary, [tabindex]";
    const place = [...section.querySelectorAll(focusable)].indexOf(document.activeElement);
    section.innerHTML = html;
    if (place >= 0) section.querySelectorAll(focusable)[place]?.focus({ preventScroll: true });
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    if (paused) leave();
    else connect();
  });
  document.addEventListener("selectionchange", () => {
    if (!paused && getSelection().isCollapsed) exchangeAll();
  });
  // A hidden page needs no connection: browsers have six for each host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else if (!paused) connect();
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => {
    if (event.persisted && !paused) connect();
  });
  if (!document.hidden) connect();
}
