"use strict";
/* One image at a time: what the server knows of it, and what the person decides. All text is set as text, never as
   markup, so that names are harmless whatever they hold. */

const $ = (id) => document.getElementById(id);
const state = { info: null, queue: 0, rows: [], decided: [], place: 0, item: null, chosen: new Set(), looking: false };

async function ask(path, body) {
  const options = body === undefined
    ? {}
    : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : `The server answered ${response.status}.`);
  return answer;
}

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("failed", failed);
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0.995 || fraction < 0.01 ? 1 : 0)} %`;
const listing = (names) => (names.length ? names.join(", ") : "none");

/* Queues */

async function refresh() {
  state.info = await ask("/api/state");
  const info = state.info;
  document.title = `Review of ${info.title} · Linnaeus`;
  $("title").textContent = info.title;
  $("decided").textContent = info.decided.toLocaleString("en");
  $("file").textContent = info.file;
  $("heat").hidden = !info.heat;
  const list = $("queues"), pick = $("pick");
  list.replaceChildren();
  pick.replaceChildren();
  let detailed = false;
  info.queues.forEach((queue, number) => {
    if (queue.detail && !detailed) {
      detailed = true;
      list.append(make("li", info.several ? "Label by label" : "Labelled as → taken for", "heading"));
    }
    const button = make("button");
    button.type = "button";
    button.append(make("span", queue.title), make("span", queue.left.toLocaleString("en"), "left"));
    button.title = queue.hint;
    if (number === state.queue) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => guarded(() => open(number)));
    const item = make("li");
    item.append(button);
    list.append(item);
    const option = make("option", `${queue.title} (${queue.left.toLocaleString("en")})`);
    option.value = number;
    option.selected = number === state.queue;
    pick.append(option);
  });
  return info;
}

async function open(number) {
  state.queue = number;
  await refresh();
  if (!state.info.queues.length) {
    state.rows = [];
    return finish("There is nothing to look at: no label looks wrong and no answer is in doubt.");
  }
  const queue = await ask(`/api/queue/${number}`);
  state.rows = queue.rows;
  state.decided = queue.decided;
  state.place = Math.max(0, state.decided.indexOf(false));
  if (!state.decided.includes(false)) state.place = state.rows.length;
  await show();
}

/* One image */

async function show() {
  if (state.place >= state.rows.length) return finish();
  const row = state.rows[state.place];
  state.item = null;
  const item = await ask(`/api/row/${row}`);
  if (state.rows[state.place] !== row) return; // another one was asked for meanwhile
  state.item = item;
  state.looking = false;
  const before = item.decision && state.decided[state.place] ? spelt(item.decision.labels) : null;
  state.chosen = new Set(before ?? item.given);
  $("picture").hidden = false;
  $("nothing").hidden = true;
  $("picture").src = `/image/${row}`;
  $("picture").alt = item.given.length ? `labelled ${listing(item.given)}` : "not labelled yet";
  $("name").textContent = item.id;
  $("split").textContent = item.split;
  $("search").value = "";
  $("place").textContent = `${state.info.queues[state.queue].title}: ${(state.place + 1).toLocaleString("en")} of ${state.rows.length.toLocaleString("en")}`;
  ask_question(item);
  draw_labels();
  draw_neighbours(item);
  draw_actions();
  const next = state.rows[state.place + 1];
  if (next !== undefined) new Image().src = `/image/${next}`;
}

function spelt(labels) {
  if (!state.info.several) return labels ? [labels] : [];
  try {
    return JSON.parse(labels);
  } catch {
    return [];
  }
}

function ask_question(item) {
  const { several, labelled } = state.info;
  let question = "What does it show?", reason = "";
  if (labelled && several) {
    question = "Which of these does it show?";
    reason = item.doubts.map((doubt) => (doubt.given
      ? `${doubt.given} may not be there (${percent(doubt.confidence)}).`
      : `${doubt.suggested} may be missing (${percent(doubt.confidence)}).`)).join(" ");
  } else if (labelled) {
    question = `Is this “${item.given[0]}”?`;
    const likely = item.likely[0];
    if (item.suggested) reason = `The model takes it for ${item.suggested[0]} (${percent(likely.probability)}).`;
    else if (likely.probability !== null) reason = `The model agrees (${percent(likely.probability)}).`;
  }
  if (item.decision) {
    const words = { accept: "found right", relabel: "relabelled", exclude: "left out", skip: "skipped", label: "labelled" };
    const labels = spelt(item.decision.labels);
    const to = ["relabel", "label"].includes(item.decision.decision) ? `: ${listing(labels)}` : "";
    reason += ` Decided already: ${words[item.decision.decision]}${to}.`;
  }
  $("question").textContent = question;
  $("reason").textContent = reason.trim();
}

function shown_labels() {
  const item = state.item, words = $("search").value.trim().toLowerCase();
  const known = new Map(item.likely.map((entry) => [entry.name, entry.probability]));
  if (words) {
    const starts = (name) => (name.toLowerCase().startsWith(words) ? 0 : 1);
    return state.info.classes
      .filter((name) => name.toLowerCase().includes(words))
      .sort((a, b) => starts(a) - starts(b))
      .slice(0, 9)
      .map((name) => ({ name, probability: known.get(name) ?? null }));
  }
  const extra = [...new Set([...item.given, ...state.chosen, ...(item.suggested ?? [])])].filter((name) => !known.has(name));
  return [...item.likely, ...extra.map((name) => ({ name, probability: null }))];
}

function draw_labels() {
  const item = state.item;
  $("labels").replaceChildren(...shown_labels().map((entry, number) => {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(state.chosen.has(entry.name)));
    button.append(make("kbd", number < 9 ? String(number + 1) : ""));
    const name = make("span", entry.name, "name");
    if (item.given.includes(entry.name)) name.append(make("small", "its label"));
    button.append(name, make("span", entry.probability === null ? "" : percent(entry.probability), "fraction"));
    const bar = make("span", undefined, "bar"), fill = make("span");
    fill.style.setProperty("--v", String(entry.probability ?? 0));
    bar.append(fill);
    button.append(bar);
    button.addEventListener("click", () => guarded(() => choose(entry.name)));
    const line = make("li");
    line.append(button);
    return line;
  }));
}

function draw_neighbours(item) {
  const same = (labels) => labels.length === item.given.length && labels.every((name) => item.given.includes(name));
  $("near").replaceChildren(...item.neighbours.map((near) => {
    const line = make("li", undefined, !item.given.length ? "plain" : same(near.labels) ? "same" : "other");
    const figure = make("figure"), picture = make("img");
    picture.src = `/neighbour/${near.row}`;
    picture.alt = listing(near.labels);
    picture.loading = "lazy";
    sharpen(picture, 48);
    figure.append(picture, make("figcaption", listing(near.labels)));
    line.title = `similarity ${near.similarity}`;
    line.append(figure);
    return line;
  }));
  $("near-note").textContent = item.neighbours.length ? "" : state.info.preparing ? `${state.info.preparing} …` : "None to compare with.";
}

function sharpen(picture, below) {
  picture.addEventListener("load", () => picture.classList.toggle("coarse", Math.max(picture.naturalWidth, picture.naturalHeight) < below));
}

function draw_actions() {
  const item = state.item, { several, labelled } = state.info;
  const word = $("accept").firstElementChild;
  const changed = state.chosen.size !== item.given.length || item.given.some((name) => !state.chosen.has(name));
  $("accept").disabled = false;
  if (several) word.textContent = labelled && !changed ? "Right as it is" : `Save: ${listing([...state.chosen])}`;
  else if (labelled) word.textContent = `Yes, ${item.given[0]}`;
  else word.textContent = item.likely[0].probability === null ? "Choose a class" : `It is ${item.likely[0].name}`;
  $("suggest").hidden = !item.suggested || (!labelled && !several);
  $("suggest").firstElementChild.textContent = item.suggested ? (several ? `As suggested: ${listing(item.suggested)}` : `No, ${item.suggested[0]}`) : "";
  for (const id of ["suggest", "exclude", "skip"]) $(id).disabled = false;
  $("back").disabled = state.place === 0;
  $("heat").setAttribute("aria-pressed", String(state.looking));
}

function finish(words) {
  state.item = null;
  $("picture").hidden = true;
  $("nothing").hidden = false;
  $("nothing").textContent = words ?? `All of these are decided.\n\nTake another list, or use what you decided:\n${state.info.command}`;
  for (const id of ["name", "split", "place", "question", "reason", "near-note"]) $(id).textContent = "";
  $("labels").replaceChildren();
  $("near").replaceChildren();
  for (const id of ["accept", "suggest", "exclude", "skip"]) $(id).disabled = true;
  $("back").disabled = !state.rows.length;
}

/* Decisions */

async function decide(decision, labels, words) {
  const item = state.item;
  if (!item) return;
  state.item = null; // a second key before the answer decides nothing
  try {
    const answer = await ask("/api/decide", { row: item.row, decision, labels });
    $("decided").textContent = answer.decided.toLocaleString("en");
  } catch (error) {
    state.item = item;
    throw error;
  }
  state.decided[state.place] = true;
  say(`${item.id}: ${words}`);
  await refresh();
  await forward();
}

async function forward() {
  const next = state.decided.indexOf(false, state.place + 1);
  state.place = next < 0 ? (state.decided.includes(false) ? state.decided.indexOf(false) : state.rows.length) : next;
  await show();
}

async function choose(name) {
  const item = state.item;
  if (!item) return;
  if (state.info.several) {
    if (!state.chosen.delete(name)) state.chosen.add(name);
    $("search").value = "";
    draw_labels();
    draw_actions();
  } else if (item.given.includes(name)) await decide("accept", [], "right as it is");
  else await decide(state.info.labelled ? "relabel" : "label", [name], `now ${name}`);
}

async function accept() {
  const item = state.item;
  if (!item) return;
  const { several, labelled } = state.info;
  if (several) {
    const labels = state.info.classes.filter((name) => state.chosen.has(name));
    const same = labelled && labels.length === item.given.length && labels.every((name) => item.given.includes(name));
    await decide(same ? "accept" : labelled ? "relabel" : "label", same ? [] : labels, same ? "right as it is" : `now ${listing(labels)}`);
  } else if (labelled) await decide("accept", [], "right as it is");
  else if (item.likely[0].probability !== null) await choose(item.likely[0].name);
}

async function suggest() {
  const item = state.item;
  if (!item || !item.suggested || $("suggest").hidden) return;
  await decide(state.info.labelled ? "relabel" : "label", item.suggested, `now ${listing(item.suggested)}`);
}

async function undo() {
  const answer = await ask("/api/undo", {});
  if (answer.id === null) return say("There is nothing to undo.");
  await refresh();
  say(`Undone: ${answer.id}`);
  const place = state.rows.indexOf(answer.row);
  if (place >= 0) {
    const queue = await ask(`/api/queue/${state.queue}`);
    state.decided = queue.decided;
    state.place = place;
    await show();
  }
}

async function back() {
  if (state.place > 0) {
    state.place -= 1;
    await show();
  }
}

function look() {
  if (!state.item || !state.info.heat) return;
  state.looking = !state.looking;
  $("picture").src = `/${state.looking ? "heat" : "image"}/${state.item.row}`;
  draw_actions();
}

/* Keys */

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer. Start linnaeus review again; nothing decided is lost." : error.message, true);
  }
}

const KEYS = {
  Enter: accept,
  a: accept,
  s: suggest,
  x: () => state.item && decide("exclude", [], "left out"),
  " ": () => state.item && decide("skip", [], "skipped"),
  ArrowRight: () => state.item && forward_one(),
  ArrowLeft: back,
  u: undo,
  h: look,
};

async function forward_one() {
  if (state.place < state.rows.length) {
    state.place += 1;
    await show();
  }
}

document.addEventListener("keydown", (event) => {
  const typing = event.target === $("search");
  if (event.target === $("pick")) return;
  if (typing) {
    if (event.key === "Escape") {
      $("search").value = "";
      $("search").blur();
      if (state.item) draw_labels();
    } else if (event.key === "Enter" && state.item) {
      event.preventDefault();
      const [first] = shown_labels();
      if (first && $("search").value.trim()) guarded(() => choose(first.name));
      $("search").blur();
    }
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    event.preventDefault();
    guarded(undo);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "/") {
    event.preventDefault();
    $("search").focus();
  } else if (/^[1-9]$/.test(event.key) && state.item) {
    const entry = shown_labels()[Number(event.key) - 1];
    if (entry) guarded(() => choose(entry.name));
  } else {
    const onButton = event.target instanceof HTMLButtonElement && [" ", "Enter"].includes(event.key);
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (onButton && document.activeElement.matches(":focus-visible"))) return;
    event.preventDefault();
    guarded(action);
  }
});

for (const [id, action] of Object.entries({ accept, suggest, exclude: KEYS.x, skip: KEYS[" "], back, undo, heat: look })) {
  $(id).addEventListener("click", (event) => {
    if (event.detail) event.currentTarget.blur(); // after a click, keys belong to the image again
    guarded(action);
  });
}
$("pick").addEventListener("change", () => guarded(() => open(Number($("pick").value))));
$("search").addEventListener("input", () => state.item && draw_labels());
sharpen($("picture"), 96);

/* While the server looks for copies and neighbours, ask again from time to time. */
async function wait() {
  if (!state.info || !state.info.preparing || state.info.preparing.startsWith("Without")) return;
  const before = state.info.queues.length;
  await refresh();
  if (state.info.queues.length !== before && state.queue > 0) {
    state.queue += 1; // the copies came in before it
    await refresh();
  }
  if (!state.info.preparing && state.item) {
    state.item.neighbours = (await ask(`/api/row/${state.item.row}`)).neighbours;
    draw_neighbours(state.item);
  } else setTimeout(() => guarded(wait), 2000);
}

guarded(async () => {
  await open(0);
  setTimeout(() => guarded(wait), 1000);
});
