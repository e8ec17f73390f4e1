// SPDX-License-Identifier: MPL-2.0
// Keys in a list of messages: only while the focus is in the list, so that no key means two things.
"use strict";

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity };

document.addEventListener("keydown", (event) => {
  const at = event.target.closest("[data-row]");
  if (at === null || event.ctrlKey || event.altKey || event.metaKey || !(event.key in STEPS)) return;
  const rows = [...document.querySelectorAll("[data-row]")];
  const next = Math.min(rows.length - 1, Math.max(0, rows.indexOf(at) + STEPS[event.key]));
  rows[next].focus();
  event.preventDefault();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (button === null) return;
  const text = document.getElementById(button.dataset.copies).textContent;
  await navigator.clipboard.writeText(text);
  document.getElementById(button.dataset.copies + "-said").textContent = button.dataset.done;
});
