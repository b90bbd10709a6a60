// The bell on every page, and the downloads that the reader has begun: both over plain HTTP.
(function () {
  "use strict";
  const root = document.querySelector(".sd-bell");
  if (!root || window.top !== window.self) return;
  const base = root.dataset.base;
  const bell = document.getElementById("sd-bell");
  const count = document.getElementById("sd-bell-count");
  const panel = document.getElementById("sd-notices");
  const list = panel.querySelector("ul");
  const announce = document.getElementById("sd-announce");
  const ask = panel.querySelector("[data-act=browser]");
  const VISIBLE_MS = 5000, HIDDEN_MS = 30000, STEP_MS = 700;
  let newest = null; // number of the newest notice that has been told

  function send(path, method, body) {
    return fetch(base + path, {
      method: method, headers: { "Content-Type": "application/json" }, body: body ? JSON.stringify(body) : undefined,
    });
  }

  function age(seconds) {
    const s = Math.max(0, Date.now() / 1000 - seconds);
    if (s < 60) return "just now";
    if (s < 3600) return Math.floor(s / 60) + " min ago";
    return s < 172800 ? Math.floor(s / 3600) + " h ago" : Math.floor(s / 86400) + " days ago";
  }

  function row(notice) {
    const item = document.createElement("li");
    item.dataset.unread = String(!notice.is_read);
    item.dataset.kind = notice.kind;
    const text = document.createElement(notice.link ? "a" : "span");
    text.textContent = notice.text;
    if (notice.link) {
      text.href = notice.link;
      text.addEventListener("click", () => send("/notices/read", "POST", { ids: [notice.id] }));
    }
    const when = document.createElement("div");
    when.className = "sd-when";
    when.append(age(notice.at_s));
    const toggle = document.createElement("button");
    toggle.type = "button";
    toggle.textContent = notice.is_read ? "Mark as unread" : "Mark as read";
    toggle.addEventListener("click", () =>
      send("/notices/read", "POST", { ids: [notice.id], read: !notice.is_read }).then(look));
    when.append(toggle);
    item.append(text, when);
    return item;
  }

  function tell(notices) {
    const fresh = notices.filter((n) => !n.is_read && n.id > newest);
    if (!fresh.length) return;
    announce.textContent = fresh.map((n) => n.text).reverse().join(". ") + ".";
    if (window.Notification && Notification.permission === "granted") {
      // The same tag in every tab: the browser shows it once.
      fresh.forEach((n) => new Notification("skydesk", { body: n.text, tag: "skydesk-" + n.id }));
    }
  }

  let shown = "";
  function draw(found) {
    count.hidden = !found.unread;
    count.textContent = found.unread > 99 ? "99+" : String(found.unread);
    bell.setAttribute("aria-label", found.unread ? "Notices: " + found.unread + " unread" : "Notices");
    if (newest !== null) tell(found.notices);
    newest = Math.max(newest ?? 0, ...found.notices.map((n) => n.id));
    const now = JSON.stringify(found.notices);
    if (now !== shown) list.replaceChildren(...found.notices.map(row));
    shown = now;
  }

  let timer = 0;
  function look() {
    clearTimeout(timer);
    return fetch(base + "/notices")
      .then((answer) => (answer.ok ? answer.json().then(draw) : null))
      .catch(() => null) // the connection is lost: the page says so elsewhere
      .finally(() => { timer = setTimeout(look, document.hidden ? HIDDEN_MS : VISIBLE_MS); });
  }

  function open(wanted) {
    panel.hidden = !wanted;
    bell.setAttribute("aria-expanded", String(wanted));
    ask.hidden = !(window.Notification && Notification.permission === "default");
    if (wanted) { look(); panel.focus(); }
  }

  bell.addEventListener("click", () => open(panel.hidden));
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { open(false); bell.focus(); }
  });
  document.addEventListener("click", (event) => {
    if (!panel.hidden && !event.composedPath().includes(root)) open(false);
  });
  panel.querySelector("[data-act=read]").addEventListener("click", () => send("/notices/read", "POST", {}).then(look));
  panel.querySelector("[data-act=clear]").addEventListener("click", () => send("/notices", "DELETE").then(look));
  ask.addEventListener("click", () => Notification.requestPermission().then(() => { ask.hidden = true; }));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  look();

  // Downloads. The address of what is clicked gets an identifier, by which the server tells how far it is.
  const box = document.getElementById("sd-transfers");
  const DOWNLOADS = ["/files/content/", "/results/", "/resultsets/", "/download", "/transfer/"];
  const followed = new Map();

  function size(bytes) {
    for (const [factor, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (bytes >= factor) return Number((bytes / factor).toPrecision(3)) + " " + unit;
    }
    return bytes + " bytes";
  }

  function duration(seconds) {
    if (seconds < 90) return Math.max(1, Math.round(seconds)) + " s";
    return seconds < 5400 ? Math.round(seconds / 60) + " min" : (seconds / 3600).toFixed(1) + " h";
  }

  function describe(t) {
    if (t.state !== "running") return t.state === "complete" ? size(t.sent_bytes) + ", complete" : "broken off";
    const whole = t.total_bytes === null ? size(t.sent_bytes) : size(t.sent_bytes) + " of " + size(t.total_bytes);
    const speed = t.bytes_per_s ? ", " + size(Math.round(t.bytes_per_s)) + "/s" : "";
    return whole + speed + (t.left_s === null ? "" : ", about " + duration(t.left_s) + " left");
  }

  function make(t) {
    const article = document.createElement("article");
    const name = document.createElement("b");
    const bar = document.createElement("progress");
    const words = document.createElement("div");
    const label = document.createElement("label");
    const wish = document.createElement("input");
    const close = document.createElement("button");
    name.textContent = t.name;
    bar.setAttribute("aria-label", "Download of " + t.name);
    wish.type = "checkbox";
    wish.checked = t.wanted;
    wish.addEventListener("change", () =>
      send("/transfers/" + t.id + "/notice", "POST", { wanted: wish.checked }));
    label.append(wish, "Tell me when it is complete");
    close.type = "button";
    close.textContent = "Hide";
    close.addEventListener("click", () => { article.remove(); box.hidden = !box.children.length; });
    article.append(name, bar, words, label, close);
    box.append(article);
    box.hidden = false;
    return { article, bar, words, label };
  }

  function show(id, t) {
    let view = followed.get(id);
    if (!view) { view = make(t); followed.set(id, view); }
    if (t.total_bytes === null) view.bar.removeAttribute("value");
    else { view.bar.max = t.total_bytes || 1; view.bar.value = t.sent_bytes; }
    view.words.textContent = describe(t);
    view.label.hidden = t.state !== "running";
    if (t.state === "complete") look();
  }

  function follow(id, tries) {
    setTimeout(() => {
      fetch(base + "/transfers/" + id).then((answer) => {
        // A query may take its time before the first byte; an answer that is no download never begins.
        if (answer.status === 404) { if (tries > 0) follow(id, tries - 1); return null; }
        return answer.json().then((t) => {
          if (t.state === "running" || followed.has(id)) show(id, t);
          if (t.state === "running") follow(id, 0);
        });
      }).catch(() => follow(id, tries - 1));
    }, STEP_MS);
  }

  document.addEventListener("click", (event) => {
    const link = event.composedPath().find((e) => e instanceof HTMLAnchorElement && e.href);
    if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const address = new URL(link.href, location.href);
    const path = address.pathname.startsWith(base) ? address.pathname.slice(base.length) : "";
    if (address.origin !== location.origin || !DOWNLOADS.some((start) => path.startsWith(start))) return;
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
    const before = link.getAttribute("href");
    address.searchParams.set("transfer", id);
    link.href = address.href;
    setTimeout(() => { link.setAttribute("href", before); }, 0);
    follow(id, 60);
  }, true);
  fetch(base + "/transfers").then((a) => (a.ok ? a.json() : { transfers: [] })).then((found) => {
    found.transfers.forEach((t) => { show(t.id, t); follow(t.id, 0); });
  }).catch(() => null);
})();
