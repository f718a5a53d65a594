// The sandbox's page: asks for /sandbox/overview and shows it. Everything is put in as text, never as HTML.
"use strict";

const REFRESH_MS = 1500;
const at = (id) => document.getElementById(id);
const rows = new Map(); // rows by key: kept as they are between refreshes, so that an open one stays open
let overview = null;
let seen = "";
let kind = "";
let firstRefresh = true;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function number(value) {
  return value.toLocaleString("en-US");
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (bytes >= 1000 && step < units.length - 1) { bytes /= 1000; step += 1; }
  return `${step ? bytes.toFixed(bytes < 10 ? 1 : 0) : bytes} ${units[step]}`;
}

function age(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 2) return "now";
  if (passed < 60) return `${Math.floor(passed)} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 86400) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} d`;
}

function when(seconds) {
  const made = element("time", "when", age(seconds));
  made.dateTime = new Date(seconds * 1000).toISOString();
  made.title = new Date(seconds * 1000).toLocaleString();
  made.dataset.at = seconds;
  return made;
}

function pill(text, className) {
  return element("span", `pill ${className}`, text);
}

function short(value) {
  if (Array.isArray(value) && value.some((item) => item instanceof Object)) return value.length === 1 ? "1 object" : `${value.length} objects`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}

function pairs(data) {
  const made = element("div", "brief");
  Object.entries(data || {}).slice(0, 8).forEach(([key, value], place) => {
    made.append(place ? " · " : "", `${key} `, element("b", "", short(value)));
  });
  return made;
}

function rootId(record) {
  const name = ["identity", "objectId", "FBID", "GPID"].find((candidate) => record[candidate] !== undefined && record[candidate] !== "");
  return name ? (name === "identity" ? String(record[name]) : `${name} ${record[name]}`) : "no id";
}

// A row that opens to show the whole JSON. `content` is turned to text only when it is opened.
function openable(content, ...summary) {
  const row = element("details", "row", element("summary", "", ...summary));
  row.addEventListener("toggle", () => {
    if (row.open && row.children.length === 1) row.append(element("pre", "", JSON.stringify(content, null, 2)));
  });
  return row;
}

function recordTitle(record) {
  if (record.type === "event") return record.evtName === undefined ? "Event without a name" : String(record.evtName);
  if (record.type === "token") return "Device token";
  return "Profile update";
}

function recordRow(entry) {
  const record = entry.record;
  if (!record) {
    return element("div", "row flat", element("div", "line", pill(entry.kind, ""), element("span", "who", "erased with its person"), when(entry.at)));
  }
  const data = record.evtData || record.profileData || record.tokenData;
  return openable(record,
    element("div", "line", pill(entry.kind, entry.kind), element("span", "name", recordTitle(record)), element("span", "who", rootId(record)), when(entry.at)),
    pairs(data));
}

function refusalRow(refusal) {
  const record = refusal.record && typeof refusal.record === "object" ? refusal.record : {};
  return openable(refusal,
    element("div", "line", pill(refusal.code, "bad slim"), element("span", "name", recordTitle(record)), element("span", "who", rootId(record)), when(refusal.at)),
    element("div", "brief wrap", refusal.error));
}

// Accepted, and yet not as it was meant: the code, the place in the record, and what happens to it.
function damageRow(damage) {
  const { code, field, silently, source, times, ...entry } = damage;
  const summary = [
    element("div", "line", pill(times > 1 ? `${code} × ${number(times)}` : code, "worn slim"), element("span", "who", entry.record ? field : "erased with its person"), when(entry.at)),
    element("div", "brief wrap", entry.record ? element("b", "", recordTitle(entry.record)) : null, entry.record ? " · " : null, silently),
  ];
  return entry.record ? openable(damage, ...summary) : element("div", "row flat", ...summary);
}

function personRow(person) {
  const ids = person.sandbox.ids;
  const named = ids.find((id) => id.type === "identity") || ids[0];
  const { Name: _, ...rest } = person.profileData;
  const title = person.name || (named ? named.value : "no id");
  const events = person.event_count;
  const others = ids.filter((id) => id !== named || person.name).map((id) => id.value).join(", ");
  return openable(person,
    element("div", "line", element("span", "name", title), element("span", "who", others), element("span", "when", `${number(events)} ${events === 1 ? "event" : "events"}`)),
    pairs(rest));
}

function faultRow(fault) {
  const { api, times, every, fired, seen: calls, ...what } = fault;
  const rate = [
    times === "forever" ? "for ever" : `${number(times - fired)} left`,
    every ? `every ${every}` : null,
    api && api !== "upload" ? `of ${api}` : null,
    `fired ${number(fired)} of ${number(calls)} calls`,
  ];
  return element("div", "row flat", element("div", "brief wrap", element("b", "", JSON.stringify(what))), element("div", "brief", rate.filter(Boolean).join(" · ")));
}

function accountRow([name, tally]) {
  return element("div", "row flat",
    element("div", "line", element("span", "name", name), element("span", "when", `${number(tally.accepted)} accepted`)),
    element("div", "brief", `${number(tally.calls)} uploads · ${number(tally.people)} people · ${number(tally.in_flight)} under way`));
}

// Fill a list, keeping rows that were there. Rows are made once per key.
function fill(list, items, keyOf, make) {
  const wanted = items.map((item) => {
    const key = `${list.id} ${keyOf(item)}`;
    if (!rows.has(key)) {
      const row = make(item);
      if (!firstRefresh) row.classList.add("fresh");
      rows.set(key, row);
    }
    return key;
  });
  for (const key of rows.keys()) if (key.startsWith(`${list.id} `) && !wanted.includes(key)) rows.delete(key);
  const made = wanted.map((key) => rows.get(key));
  if (made.length !== list.children.length || made.some((row, place) => list.children[place] !== row)) list.replaceChildren(...made);
}

function showCounts(stats) {
  const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
  const refused = sum(stats.refused);
  const damaged = sum(stats.damage);
  const counts = [
    ["Uploads", number(stats.calls)], ["Events", number(stats.records.event)], ["Profiles", number(stats.records.profile)],
    ["People", number(stats.people)], ["Damage", number(damaged), damaged ? "worn" : ""], ["Refused", number(refused), refused ? "bad" : ""], ["Received", size(stats.bytes)],
  ];
  at("counts").replaceChildren(...counts.map(([name, value, className]) => element("div", className || "", element("dt", "", name), element("dd", "", value))));
  at("codes").replaceChildren(...Object.entries(stats.refused).map(([code, count]) => pill(`${code} × ${number(count)}`, "bad slim")));
  const worst = Object.entries(stats.damage).sort((one, other) => other[1] - one[1]).slice(0, 3);
  at("damages").replaceChildren(...worst.map(([code, count]) => pill(`${code} × ${number(count)}`, "worn slim")));
}

function showRecords() {
  const sought = at("find").value.trim().toLowerCase();
  const fitting = overview.records.filter((entry) => (!kind || entry.kind === kind) && (!sought || JSON.stringify(entry).toLowerCase().includes(sought)));
  fill(at("records"), fitting, (entry) => `${entry.n}${entry.erased ? " erased" : ""}`, recordRow);
  at("more").hidden = fitting.length <= 15 || at("records").classList.contains("all");
  const total = overview.stats.accepted;
  at("records-note").textContent = overview.stats.fast ? "Fast mode: records are counted, not kept."
    : !total ? "Nothing has arrived yet. Send an upload to /1/upload."
    : !fitting.length ? "None of the newest records fits."
    : total > overview.records.length ? `The newest ${overview.records.length} of ${number(total)}. All that are kept, whole: /sandbox/records` : "";
}

function show() {
  const { stats, people, refusals, damage, faults } = overview;
  showCounts(stats);
  showRecords();
  fill(at("refusals"), refusals, (refusal) => `${refusal.call} ${refusal.error}`, refusalRow);
  at("refusals-note").textContent = refusals.length ? "" : "No record was refused.";
  fill(at("damage"), damage, (one) => `${one.n} ${one.times} ${one.code} ${one.field}${one.erased ? " erased" : ""}`, damageRow);
  at("damage-note").textContent = damage.length ? "" : "Nothing was cut, dropped or misread.";
  fill(at("people"), people, (person) => `${person.account} ${JSON.stringify(person.sandbox.ids)} ${person.sandbox.updated_at}`, personRow);
  at("people-note").textContent = people.length ? "" : "Nobody yet.";
  at("faults-section").hidden = !faults.length;
  at("faults").replaceChildren(...faults.map(faultRow));
  at("accounts").replaceChildren(...Object.entries(stats.accounts).map(accountRow));
}

function say(text, className) {
  at("state").textContent = text;
  at("pulse").className = `pulse ${className}`;
}

async function refresh() {
  try {
    const response = await fetch("/sandbox/overview", { cache: "no-store" });
    const text = await response.text();
    if (text !== seen) {
      seen = text;
      overview = JSON.parse(text);
      show();
      firstRefresh = false;
    }
    const last = overview.stats.last_arrival;
    say(last ? `Last record ${age(last) === "now" ? "just now" : `${age(last)} ago`}` : "Waiting for the first record", "on");
    document.querySelectorAll("time[data-at]").forEach((time) => { time.textContent = age(Number(time.dataset.at)); });
  } catch {
    say("The sandbox does not answer", "off");
  }
}

let timer = null;
function setLive(isLive) {
  at("live").setAttribute("aria-pressed", String(isLive));
  clearInterval(timer);
  timer = isLive ? setInterval(refresh, REFRESH_MS) : null;
  if (isLive) refresh(); else say("Paused", "");
}

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
function isDark() {
  const look = document.documentElement.dataset.look;
  return look ? look === "dark" : systemIsDark.matches;
}
function nameLook() { at("look").textContent = isDark() ? "Light" : "Dark"; }
function setLook(look) {
  if (look) document.documentElement.dataset.look = look;
  nameLook();
}

at("live").addEventListener("click", () => setLive(at("live").getAttribute("aria-pressed") !== "true"));
at("look").addEventListener("click", () => {
  const look = isDark() ? "light" : "dark";
  try { localStorage.setItem("look", look); } catch { /* kept for this visit only */ }
  setLook(look);
});
at("reset").addEventListener("click", async () => {
  if (!confirm("Forget all records, people, counts and faults?")) return;
  await fetch("/sandbox/reset", { method: "POST" });
  refresh();
});
at("clear-faults").addEventListener("click", async () => {
  await fetch("/sandbox/faults", { method: "DELETE" });
  refresh();
});
at("more").addEventListener("click", () => { // on narrow screens only 15 rows are shown at first
  at("records").classList.add("all");
  showRecords();
});
at("find").addEventListener("input", () => { if (overview) showRecords(); });
at("kinds").addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (!chosen) return;
  kind = chosen.dataset.kind;
  for (const button of at("kinds").children) button.setAttribute("aria-pressed", String(button === chosen));
  if (overview) showRecords();
});
systemIsDark.addEventListener("change", nameLook);

let stored = null;
try { stored = localStorage.getItem("look"); } catch { /* storage is switched off */ }
setLook(stored);
setLive(true);
