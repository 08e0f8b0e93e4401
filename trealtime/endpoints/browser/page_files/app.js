// The page: one WebSocket, one conversation. The messages on the socket: docs/reference/browser.md. Those of a call that
// is recorded (`call`, `turn`) come from `trealtime demo` alone.

import { Audio, MicrophoneError, NoAudio, SoundError } from "./audio.js";

const $ = (id) => document.getElementById(id);
const MAX_LOG = 200;
const MAX_IMAGE_PX = 1024;
const MAX_BUFFERED_S = 2; // of the microphone's audio that the network does not take; beyond that none is sent

const SUSPENDED = "The browser has stopped the sound of this page.";

let audio = null; // opened by the first click, kept
let socket = null;
let epoch = 0; // of the audio to play
let heard = { epoch: 0, played: 0, heard: 0, queued: 0 }; // the loudspeaker's last report
let yourLevel = 0; // the loudest since it was shown
let lastWord = "listening"; // the state of the conversation by the server's events
let agentName = document.title.replace(/^Talk to /, ""); // who speaks
let call = null; // {id, latencies, interrupts} of a call that is recorded
const asking = new Set(); // calls of tools that wait for the user

const flushes = []; // where the loudspeaker stood at each interrupt
window.page = { get audio() { return audio; }, get heard() { return heard; }, flushes }; // to look at in the console

// ---- audio ---------------------------------------------------------------------------------------------------------

const hooks = {
  onPiece(pcm, level) {
    yourLevel = Math.max(yourLevel, level);
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount < MAX_BUFFERED_S * audio.rate * 2) socket.send(pcm.buffer);
  },
  onReport(report) {
    heard = report;
    if (report.epoch === epoch) send({ type: "heard", epoch, samples: report.heard });
    showState();
  },
  onFlushed(report) {
    if (report.played === 0) return;
    flushes.push({ ...report, at: Date.now() });
    note("silenced", `${((report.heard * 1000) / audio.rate).toFixed(0)} ms were heard since the last time`);
  },
  onLost() {
    showMicrophone();
    complain("The microphone has gone. Connect it again, or another one; or type.", {
      retry: listenAgain,
      without: true,
    });
  },
  onSuspended(suspended) {
    if (suspended) complain(SUSPENDED, { retry: () => audio.resume(), word: "Go on" });
    else if ($("problem-text").textContent === SUSPENDED) $("problem").hidden = true;
  },
};

async function listenAgain() {
  $("problem").hidden = true;
  try {
    await audio.listen();
    note("microphone", audio.track.label);
  } catch (error) {
    complain(error.message, { retry: listenAgain, without: true });
  }
  showMicrophone();
}

// A microphone that was pulled out and is there again, or another one that the system has chosen.
navigator.mediaDevices?.addEventListener("devicechange", async () => {
  if (!audio?.track) return;
  if (audio.track.readyState === "ended" || (await audio.anotherIsDefault())) listenAgain();
});

let starting = false; // the browser may ask the user for the microphone meanwhile, who clicks again

async function start(options = {}) {
  if (starting) return;
  starting = true;
  try {
    await startOnce(options);
  } finally {
    starting = false;
  }
}

async function startOnce({ microphone = true, sound = true }) {
  $("problem").hidden = true;
  try {
    audio ??= sound ? await Audio.open(hooks) : new NoAudio(hooks);
    if (microphone && sound) await audio.listen();
  } catch (error) {
    if (error instanceof SoundError) {
      complain(error.message, { without: true, goOn: () => start({ sound: false }) });
    } else {
      const without = error instanceof MicrophoneError;
      complain(error.message, { retry: start, without, goOn: () => start({ microphone: false }) });
    }
    return;
  }
  $("welcome").hidden = true;
  $("transcript").hidden = $("controls").hidden = false;
  connect();
}

// ---- the socket ----------------------------------------------------------------------------------------------------

function connect() {
  if (socket?.readyState <= WebSocket.OPEN) return; // one conversation at a time
  $("problem").hidden = true;
  setState("connecting");
  epoch = 0;
  audio.flush(epoch); // of a conversation before this one
  const url = new URL("talk", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    socket.opened = true;
    send({ type: "hello", protocol: 1, rate: audio.rate });
    beginConversation();
    setState("listening");
    showConnected(true);
  };
  socket.onmessage = ({ target, data }) => {
    if (target !== socket) return; // one that is closing
    if (typeof data === "string") receive(JSON.parse(data));
    else receiveAudio(data);
  };
  socket.onclose = (event) => closed(event);
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function receiveAudio(data) {
  const of = new DataView(data).getUint32(0, true);
  if (of === epoch) audio.play(of, new Int16Array(data, 4).slice());
}

function closed({ target, code, reason }) {
  if (target !== socket) return;
  audio.flush(0);
  setState("closed");
  note("closed", `${code} ${reason}`);
  showConnected(false);
  for (const buttons of document.querySelectorAll("#tools .buttons")) buttons.remove();
  $("reconnect").focus();
  asking.clear();
  if (!target.hungUp) complain(reason || whyClosed(target, code));
  if (call) showTimeline(call.id);
}

function whyClosed({ opened }, code) {
  // 1006: no close frame came. `wasClean` also asks how TCP ended behind it.
  if (code !== 1006) return "The conversation has ended.";
  if (opened) return "The connection is lost. Is the server running?";
  // A browser tells a page nothing about a handshake that was refused.
  return (
    "The server did not take the connection. Is it running? It takes pages of its own address only: open the one that " +
    `it has printed, or start it with --allow-origin ${location.origin}`
  );
}

function receive(message) {
  switch (message.type) {
    case "flush":
      epoch = message.epoch;
      audio.flush(epoch);
      break;
    case "item":
      showItem(message);
      break;
    case "item_gone":
      item(message.item_id).remove();
      break;
    case "event":
      happened(message);
      break;
    case "call":
      beginCall(message);
      break;
    case "turn":
      turnEnded(message);
      break;
    case "problem":
      complain(message.text);
      break;
    case "refused":
      note("refused", message.reason);
      break;
  }
}

// ---- what happens ---------------------------------------------------------------------------------------------------

const WORDS = {
  speech_started: "user",
  speech_stopped: "thinking",
  agent_start: "thinking",
  agent_end: "listening",
  connection_lost: "reconnecting",
  reconnected: "listening",
};

function happened(event) {
  const { name, type, ...fields } = event;
  switch (name) {
    case "transcript_delta":
    case "text_delta":
      addWords(event);
      return; // they are read where they are said
    case "tool_approval_required":
      asking.add(event.call_id);
      showTool(event, "waits for you", { ask: true });
      break;
    case "tool_start":
      asking.delete(event.call_id);
      showTool(event, "is running");
      break;
    case "tool_progress":
      showTool(event, event.note);
      break;
    case "agent_start":
      if (event.agent) showAgent(event.agent);
      break;
    case "agent_end":
      if (lastWord === "reconnecting") return; // the loss has ended it
      break;
    case "handoff":
      showAgent(event.to_agent);
      $("transcript").append(make("li", "divider", event.from_agent ? `${event.from_agent} hands over to ${event.to_agent}` : event.to_agent));
      break;
    case "audio_interrupted":
      if (call) call.interrupts += 1;
      showFigures();
      break;
    case "tool_end":
      asking.delete(event.call_id);
      showTool(event, event.failure ? event.failure.replaceAll("_", " ") : "done");
      break;
    case "tool_approval_dropped":
      asking.delete(event.call_id);
      showTool(event, `not decided: ${event.reason}`);
      break;
    case "error":
      complain(event.error);
      break;
  }
  lastWord = WORDS[name] ?? lastWord;
  showState();
  const shown = Object.entries(fields).filter(([key, value]) => value !== null && !key.endsWith("_id"));
  note(name, shown.map(([key, value]) => `${key}: ${value}`).join(", "));
}

// ---- what is shown --------------------------------------------------------------------------------------------------

const STATES = {
  closed: "Not connected",
  connecting: "Connecting…",
  listening: "Listening",
  user: "You are speaking",
  thinking: "Thinking",
  approval: "Waiting for your approval",
  reconnecting: "Connecting again…",
};

/** The agent in charge, in all places that name it. */
function showAgent(name) {
  agentName = name;
  for (const place of document.querySelectorAll(".agent-name")) place.textContent = name;
}
showAgent(agentName);

// ---- a call that is recorded ---------------------------------------------------------------------------------------

function beginCall({ id, agent }) {
  call = { id, latencies: [], turns: 0, interrupts: 0 };
  showAgent(agent);
  $("call-card").hidden = false;
  $("downloads").hidden = $("timeline").hidden = true;
  showFigures();
}

function turnEnded({ latency_ms, heard_ms, item_ids }) {
  if (!call) return;
  call.turns += 1;
  if (latency_ms !== null) call.latencies.push(latency_ms);
  const last = item_ids.map((id) => document.querySelector(`.assistant[data-item="${CSS.escape(id)}"]`)).filter(Boolean).at(-1);
  const figures = [];
  if (latency_ms !== null) figures.push(`heard after ${(latency_ms / 1000).toFixed(2)} s`);
  if (heard_ms !== null) figures.push(`${(heard_ms / 1000).toFixed(1)} s heard`);
  if (last) last.querySelector(".figures").textContent = figures.join(" · ");
  showFigures();
}

function showFigures() {
  if (!call) return;
  const sorted = [...call.latencies].sort((a, b) => a - b);
  $("figure-turns").textContent = call.turns;
  $("figure-latency").textContent = sorted.length ? `${(sorted[sorted.length >> 1] / 1000).toFixed(2)} s` : "–";
  $("figure-interrupts").textContent = call.interrupts;
}

/** The timeline is drawn when the call has ended: ask for it until it is there. */
async function showTimeline(id) {
  const of = (name) => `calls/${encodeURIComponent(id)}/${name}`;
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const answer = await fetch(of("timeline.html"), { method: "HEAD" }).catch(() => null);
    if (answer?.status === 200) {
      if (call?.id !== id) return; // another call has begun
      $("timeline-frame").src = $("open-timeline").href = $("save-timeline").href = of("timeline.html");
      $("save-recording").href = of("recording.jsonl.gz");
      $("timeline").hidden = $("downloads").hidden = false;
      $("transcript").scrollTop = $("transcript").scrollHeight;
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  note("timeline", "none was drawn");
}

function setState(state) {
  lastWord = state;
  showState();
}

function showMicrophone() {
  $("mute").disabled = audio.track?.readyState !== "live";
}

function showConnected(connected) {
  $("talking").disabled = !connected;
  showMicrophone();
  $("hang-up").hidden = !connected;
  $("reconnect").hidden = connected;
}

function showState() {
  const silent = heard.epoch !== epoch || heard.heard === 0 || (heard.queued === 0 && heard.heard === heard.played);
  let state = silent || !["listening", "thinking"].includes(lastWord) ? lastWord : "speaking";
  if (asking.size && ["listening", "thinking"].includes(state)) state = "approval";
  const words = STATES[state] ?? `${agentName} is speaking`;
  if ($("state").dataset.state === state && $("state-text").textContent === words) return;
  $("state").dataset.state = state;
  $("state-text").textContent = words;
  $("interrupt").classList.toggle("primary", state === "speaking");
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** Keep the end of a list in sight, unless the user has scrolled away from it. */
function follow(list) {
  let atEnd = true;
  list.onscroll = () => (atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 8);
  const show = () => atEnd && (list.scrollTop = list.scrollHeight);
  new MutationObserver(show).observe(list, { childList: true, subtree: true, characterData: true });
  new ResizeObserver(show).observe(list);
}
follow($("transcript"));
follow($("log"));

function beginConversation() {
  if ($("transcript").childElementCount) $("transcript").append(make("li", "divider", "A new conversation"));
  for (const element of document.querySelectorAll("[data-item]")) delete element.dataset.item;
}

function item(id) {
  const found = document.querySelector(`[data-item="${CSS.escape(id)}"]`);
  if (found) return found;
  const element = make("li", "turn");
  element.dataset.item = id;
  element.append(make("b", "who"), make("p", "words"), make("small", "figures"), make("small", "cut"));
  $("transcript").append(element);
  return element;
}

function setRole(element, role) {
  element.classList.add(role);
  const who = element.querySelector(".who"); // an agent's words stay its own when another takes over
  if (!who.textContent) who.textContent = role === "user" ? "You" : agentName;
}

/** Show at once what the user has typed; the server's item takes its place. */
function echo(text) {
  const element = item(`typed ${Date.now()}`);
  setRole(element, "user");
  element.classList.add("typed");
  element.querySelector(".words").textContent = text;
}

function takeEcho(item_id, text) {
  for (const element of document.querySelectorAll(".turn.typed")) {
    if (element.querySelector(".words").textContent === text) {
      element.classList.remove("typed");
      element.dataset.item = item_id;
      return;
    }
  }
}

function showItem({ item_id, role, text, heard_ms, after, images = [] }) {
  if (role === "user" && !document.querySelector(`[data-item="${CSS.escape(item_id)}"]`)) takeEcho(item_id, text);
  const element = item(item_id);
  setRole(element, role);
  const before = after && document.querySelector(`[data-item="${CSS.escape(after)}"]`);
  if (before) placeAfter(before, element);
  if (text || heard_ms !== null) element.querySelector(".words").textContent = text;
  for (const url of images.filter((each) => each.startsWith("data:image/"))) {
    const image = make("img");
    image.src = url;
    image.alt = "The image that you sent";
    element.append(image);
  }
  if (heard_ms !== null) {
    element.querySelector(".cut").textContent = `interrupted after ${(heard_ms / 1000).toFixed(1)} s`;
  }
}

/** Put an item after another, and after the lines that tell what came between them. */
function placeAfter(before, element) {
  let last = before;
  while (last.nextSibling && last.nextSibling !== element && last.nextSibling.classList.contains("divider")) last = last.nextSibling;
  if (last.nextSibling !== element) last.after(element);
}

function addWords({ item_id, role = "assistant", delta }) {
  const element = item(item_id);
  setRole(element, role);
  element.querySelector(".words").append(delta);
}

function showTool({ call_id, tool, arguments: given, output, failure }, state, { ask = false } = {}) {
  $("no-tools").hidden = true;
  let card = document.querySelector(`[data-call="${CSS.escape(call_id)}"]`);
  if (!card) {
    card = make("li", "tool");
    card.dataset.call = call_id;
    card.append(make("b", "", tool), make("small", "tool-state"), make("code", "", given), make("p", "output"));
    $("tools").prepend(card);
  }
  card.dataset.state = ask ? "ask" : failure ? "failed" : output === undefined ? "busy" : "done";
  card.querySelector(".tool-state").textContent = state;
  card.querySelector(".output").textContent = output ?? "";
  card.querySelector(".buttons")?.remove();
  if (ask) {
    const buttons = make("div", "buttons");
    for (const [text, approve] of [["Approve", true], ["Reject", false]]) {
      const button = make("button", approve ? "primary" : "", text);
      button.type = "button";
      button.onclick = () => {
        send({ type: "decide", call_id, approve });
        buttons.remove();
        asking.delete(call_id);
        showState();
      };
      buttons.append(button);
    }
    card.append(buttons);
  }
}

function note(name, text) {
  const entry = make("li");
  const time = make("time", "", new Date().toLocaleTimeString([], { hour12: false }));
  entry.append(time, make("b", "", name), make("span", "", text));
  $("log").append(entry);
  while ($("log").childElementCount > MAX_LOG) $("log").firstElementChild.remove();
}

/** Say what is wrong, with buttons: `retry` (called `word`), and `without`, which calls `goOn` where there is one. */
function complain(text, { retry = null, word = "Try again", without = false, goOn = null } = {}) {
  $("problem-text").textContent = text;
  $("problem-retry").hidden = !retry;
  $("problem-retry").textContent = word;
  $("problem-retry").onclick = () => retry();
  $("problem-without").hidden = !without;
  $("problem-without").onclick = () => {
    $("problem").hidden = true;
    goOn?.();
  };
  $("problem").hidden = false;
  note("problem", text);
}

function show(meter, level) {
  // From -60 dB on, which is a quiet room.
  const percent = Math.round(Math.max(0, Math.min(100, 100 + (100 / 60) * 20 * Math.log10(level + 1e-9))));
  if (meter.ariaValueNow === String(percent)) return;
  meter.ariaValueNow = percent;
  meter.firstElementChild.style.transform = `scaleX(${percent / 100})`;
}

// As often as an eye needs: each change is a picture to draw, in the thread that also carries the audio.
setInterval(() => {
  show($("your-level"), yourLevel);
  show($("otto-level"), audio?.level ?? 0);
  yourLevel = 0;
}, 80);

// ---- what is clicked ------------------------------------------------------------------------------------------------

$("start").onclick = () => start();
$("reconnect").onclick = connect;
$("interrupt").onclick = () => send({ type: "interrupt" });
$("hang-up").onclick = () => {
  socket.hungUp = true;
  socket.close(1000);
};
$("mute").onclick = () => {
  const muted = $("mute").getAttribute("aria-pressed") !== "true";
  audio.muted = muted;
  $("mute").setAttribute("aria-pressed", muted);
  $("mute").textContent = muted ? "Muted" : "Mute";
};
$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text) {
    echo(text);
    send({ type: "say", text });
  }
  $("text").value = "";
};
$("image").onchange = async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  try {
    send({ type: "image", url: await smallJpeg(file), text: $("text").value.trim() });
    $("text").value = "";
  } catch {
    complain(`${file.name} is no image that this browser can read.`);
  }
};

/** An image as a data URI, no larger than a model needs. */
async function smallJpeg(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MAX_IMAGE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // JPEG would make transparent parts black
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85);
}
