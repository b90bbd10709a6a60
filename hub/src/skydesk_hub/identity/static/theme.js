// The theme chosen in the portal holds here too; without a choice the system decides.
const chosen = document.cookie.match(/(?:^|; )skydesk-theme=(light|dark)/)?.[1];
document.documentElement.dataset.theme = chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
