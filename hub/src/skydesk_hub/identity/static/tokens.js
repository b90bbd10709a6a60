// Lists, makes and revokes the tokens of the person who is signed in.
const form = document.getElementById("new-token");
const base = `/auth/api/v1/users/${encodeURIComponent(form.dataset.user)}/tokens`;
const headers = { "Content-Type": "application/json", "X-CSRF-Token": form.dataset.csrf };
const made = document.getElementById("made");
const day = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") : "–");

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  const detail = body.detail;
  return Array.isArray(detail) ? detail.map((entry) => entry.msg).join("; ") : `error ${answer.status}`;
}

async function show() {
  const answer = await fetch(base);
  if (!answer.ok) return;
  const rows = (await answer.json()).filter((token) => token.scopes.length);
  document.getElementById("tokens").replaceChildren(
    ...rows.map((token) => {
      const row = document.createElement("tr");
      for (const text of [token.token_name, token.scopes.join(" "), day(token.created), day(token.expires), day(token.last_used)]) {
        row.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      const revoke = Object.assign(document.createElement("button"), { type: "button", textContent: "Revoke", className: "sky-button sky-quiet" });
      revoke.setAttribute("aria-label", `Revoke ${token.token_name}`);
      revoke.addEventListener("click", async () => {
        await fetch(`${base}/${token.token}`, { method: "DELETE", headers });
        await show();
      });
      const cell = document.createElement("td");
      cell.append(revoke);
      row.append(cell);
      return row;
    }),
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const data = new FormData(form);
  const life = data.get("life");
  const expires = life ? Math.floor(Date.now() / 1000) + Number(life) : null;
  const body = JSON.stringify({ token_name: data.get("token_name"), scopes: data.getAll("scope"), expires });
  const answer = await fetch(base, { method: "POST", headers, body });
  made.hidden = false;
  if (!answer.ok) {
    made.textContent = await problem(answer);
    return;
  }
  const code = Object.assign(document.createElement("code"), { textContent: (await answer.json()).token });
  made.replaceChildren("Copy your token now, it is not shown again: ", code);
  form.reset();
  await show();
});

show();
