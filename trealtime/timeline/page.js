"use strict";
(() => {
  const data = JSON.parse(document.getElementById("call").textContent);
  const strip = document.getElementById("strip");
  const scroll = document.getElementById("scroll");
  const head = document.getElementById("head");
  const hair = document.getElementById("hair");
  const panel = document.getElementById("wire");
  const stopButton = document.getElementById("stop");
  const status = document.getElementById("status");

  const shown = (seconds) =>
    seconds < 60 ? `${seconds.toFixed(2)} s` : `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
  const at = (seconds) => data.left + seconds * data.scale;

  // ---- sound: mu-law at 8 kHz, decoded here, so that every browser can play it

  let audio = null;
  let playing = [];
  let began = 0;
  let from = 0;
  let until = 0;
  let frame = 0;

  const decode = (text) => {
    const bytes = atob(text);
    const samples = new Float32Array(bytes.length);
    for (let i = 0; i < bytes.length; i += 1) {
      const value = ~bytes.charCodeAt(i) & 0xff;
      const size = ((((value & 0x0f) << 3) + 0x84) << ((value & 0x70) >> 4)) - 0x84;
      samples[i] = (value & 0x80 ? -size : size) / 32768;
    }
    return samples;
  };

  const player = document.getElementById("player");

  const halt = () => {
    if (player) player.pause();
    playing.forEach((source) => source.stop());
    playing = [];
    cancelAnimationFrame(frame);
    head.style.display = "none";
    stopButton.hidden = true;
    document.querySelectorAll("tr.now").forEach((row) => row.classList.remove("now"));
  };

  const follow = () => {
    const now = player ? player.currentTime : from + Math.max(0, audio.currentTime - began);
    if (now >= until) {
      halt();
      return;
    }
    head.style.display = "block";
    head.style.left = `${at(now)}px`;
    const x = at(now) - scroll.scrollLeft;
    if (x < data.left || x > scroll.clientWidth - 40) scroll.scrollLeft = at(now) - data.left - 60;
    frame = requestAnimationFrame(follow);
  };

  const play = (start, end) => {
    halt();
    if (player) {
      from = start;
      until = end;
      player.currentTime = start;
      player.play().catch(() => {
        status.textContent = `${decodeURIComponent(player.getAttribute("src"))} is not beside this page.`;
        halt();
      });
      stopButton.hidden = false;
      follow();
      return;
    }
    if (!data.sounds.length) {
      status.textContent = "There is no sound in this page.";
      return;
    }
    audio = audio || new AudioContext();
    audio.resume();
    from = start;
    until = end;
    began = audio.currentTime + 0.05;
    for (const sound of data.sounds) {
      const ends = sound.at + (sound.data.length * 3) / 4 / 8000;
      if (ends <= start || sound.at >= end) continue;
      sound.samples = sound.samples || decode(sound.data);
      const buffer = audio.createBuffer(1, sound.samples.length, 8000);
      buffer.copyToChannel(sound.samples, 0);
      const source = audio.createBufferSource();
      source.buffer = buffer;
      source.connect(audio.destination);
      const skip = Math.max(0, start - sound.at);
      source.start(began + Math.max(0, sound.at - start), skip, Math.max(0.01, end - Math.max(start, sound.at)));
      playing.push(source);
    }
    stopButton.hidden = false;
    follow();
  };

  const playTurn = (number) => {
    const turn = data.turns.find((each) => each.number === number);
    if (!turn) return;
    play(Math.max(0, turn.start - 0.3), turn.end + 0.3);
    const row = document.getElementById(`turn-${number}`);
    if (row) row.classList.add("now");
    status.textContent = `Playing turn ${number}.`;
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-turn]");
    if (target) playTurn(Number(target.getAttribute("data-turn")));
  });
  stopButton.addEventListener("click", halt);
  document.getElementById("all").addEventListener("click", () => play(0, data.duration));

  // ---- the wire events of a moment

  let cursor = 0;

  const look = (seconds) => {
    cursor = Math.min(Math.max(0, seconds), data.duration);
    hair.style.display = "block";
    hair.style.left = `${at(cursor)}px`;
    const reach = 8 / data.scale;
    let near = data.wire.filter((each) => Math.abs(each[0] - cursor) <= reach);
    if (!near.length) {
      const before = data.wire.filter((each) => each[0] <= cursor);
      near = before.slice(-1);
    }
    panel.replaceChildren();
    const title = document.createElement("p");
    title.textContent = `At ${shown(cursor)}, on the wire:`;
    const list = document.createElement("ul");
    for (const [when, side, kind, count, detail] of near.slice(0, 60)) {
      const line = document.createElement("li");
      const name = document.createElement("b");
      name.className = side;
      name.textContent = `${side === "client" ? "→" : "←"} ${kind}${count > 1 ? ` ×${count}` : ""}`;
      const rest = document.createElement("code");
      rest.textContent = detail;
      line.append(`${shown(when)} `, name, " ", rest);
      list.append(line);
    }
    panel.append(title, list);
  };

  strip.addEventListener("pointermove", (event) => {
    const x = event.clientX - strip.getBoundingClientRect().left;
    if (event.clientX - scroll.getBoundingClientRect().left > data.left) look((x - data.left) / data.scale);
  });

  scroll.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : 0.1;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      look(cursor + (event.key === "ArrowRight" ? step : -step));
      const x = at(cursor) - scroll.scrollLeft;
      if (x < data.left || x > scroll.clientWidth) scroll.scrollLeft = at(cursor) - scroll.clientWidth / 2;
    } else if (event.key === "Enter" || event.key === " ") {
      const turn = data.turns.find((each) => each.start <= cursor && cursor <= each.end);
      if (turn) playTurn(turn.number);
      else play(cursor, data.duration);
    } else if (event.key === "Escape") halt();
    else return;
    event.preventDefault();
  });
})();
