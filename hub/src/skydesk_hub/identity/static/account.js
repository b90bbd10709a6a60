// Shows who is signed in. The session's cookie reaches /auth only, so the page asks there.
(async () => {
  const { username } = await (await fetch("/auth/session")).json();
  const place = document.getElementById("account");
  place.hidden = false;
  if (!username) {
    const link = Object.assign(document.createElement("a"), { href: "/auth/login?next=/", textContent: "Sign in" });
    place.replaceChildren(link);
    return;
  }
  const name = Object.assign(document.createElement("a"), { href: "/auth/tokens", textContent: username, title: "Tokens for programs" });
  const leave = Object.assign(document.createElement("a"), { href: "/auth/logout", textContent: "Sign out" });
  place.replaceChildren(name, leave);
  document.documentElement.dataset.user = username;
  const start = document.getElementById("signin");
  if (start) {
    const portal = Object.assign(document.createElement("a"), { href: "/portal/app/", textContent: "Open the portal", className: "sky-button" });
    const lab = Object.assign(document.createElement("a"), { href: "/nb/", textContent: "Open a notebook", className: "sky-button sky-quiet" });
    start.replaceChildren(portal, lab);
  }
})();
