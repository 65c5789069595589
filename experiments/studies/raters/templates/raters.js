"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const storeKey = `dabfusion-raters-${study.study}`;
  const byId = (id) => document.getElementById(id);
  const sides = ["left", "right"];
  const boxes = Object.fromEntries(
    sides.map((side) => [side, document.querySelector(`[data-side="${side}"]`)]));
  const videos = Object.fromEntries(sides.map((s) => [s, boxes[s].querySelector("video")]));
  const other = { a: "b", b: "a" };
  let state = null;
  let seen = {};
  let plays = {};
  let shownAt = 0;
  let firstChoice = null;
  let broken = false;

  // mulberry32, seeded by the participant's id: reloading the page keeps the order.
  function random(seedText) {
    let seed = 2166136261;
    for (const letter of seedText) seed = Math.imul(seed ^ letter.codePointAt(0), 16777619);
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  function shuffled(list, draw) {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i -= 1) {
      const j = Math.floor(draw() * (i + 1));
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  }
  function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(6));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // Draws evenly from the pairs of methods, up to the requested number.
  function drawPairs(draw) {
    const groups = new Map();
    for (const trial of study.trials) {
      if (trial.group === null) continue;
      if (!groups.has(trial.group)) groups.set(trial.group, []);
      groups.get(trial.group).push(trial);
    }
    const queues = shuffled([...groups.values()], draw).map((list) => shuffled(list, draw));
    const total = queues.reduce((sum, queue) => sum + queue.length, 0);
    const wanted = study.trialsPerRater === 0 ? total : Math.min(study.trialsPerRater, total);
    const chosen = [];
    while (chosen.length < wanted) {
      for (const queue of queues) {
        if (queue.length && chosen.length < wanted) chosen.push(queue.pop());
      }
    }
    return shuffled(chosen, draw);
  }

  function plan(participant) {
    const draw = random(`${study.study}:${participant}`);
    const pairs = drawPairs(draw);
    const entries = pairs.map((trial) => (
      { id: trial.id, left: draw() < 0.5 ? "a" : "b", repeat: false }));
    // Repeats come late and with swapped sides, so that agreement is about the dance, not the side.
    const repeats = shuffled(entries.slice(0, Math.ceil(entries.length / 2)), draw)
      .slice(0, study.repeats)
      .map((entry) => ({ id: entry.id, left: other[entry.left], repeat: true }));
    for (const entry of repeats) {
      const from = Math.ceil(entries.length * 0.7);
      entries.splice(from + Math.floor(draw() * (entries.length - from + 1)), 0, entry);
    }
    const checks = shuffled(study.trials.filter((trial) => trial.group === null), draw);
    const step = (entries.length + checks.length) / Math.max(1, checks.length);
    checks.forEach((trial, i) => {
      const at = Math.min(entries.length, Math.floor((i + 0.15 + 0.7 * draw()) * step));
      entries.splice(at, 0, { id: trial.id, left: draw() < 0.5 ? "a" : "b", repeat: false });
    });
    return entries;
  }

  function load() {
    try {
      const saved = JSON.parse(localStorage.getItem(storeKey));
      if (saved && saved.study === study.study) return saved;
    } catch (error) { /* storage is unreadable or blocked: start again */ }
    const participant = newId();
    return {
      format: study.format, version: study.version, study: study.study, participant,
      label: "", started: null, finished: null, soundCheck: { attempts: 0, passed: false },
      screen: null, agent: navigator.userAgent, plan: plan(participant), answers: [],
    };
  }
  function save() {
    try { localStorage.setItem(storeKey, JSON.stringify(state)); } catch (error) { /* as above */ }
  }

  function show(name) {
    for (const id of ["intro", "trial", "done"]) byId(id).hidden = id !== name;
    byId(`${name}-title`).focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  // ---- sound check -------------------------------------------------------------------------
  let beeps = 0;
  let context = null;
  function playBeeps() {
    beeps = 2 + Math.floor(Math.random() * 4);
    context = context || new AudioContext();
    context.resume();
    for (let i = 0; i < beeps; i += 1) {
      const tone = context.createOscillator();
      const gain = context.createGain();
      const at = context.currentTime + 0.15 + i * 0.35;
      tone.frequency.value = 660;
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(0.3, at + 0.02);
      gain.gain.linearRampToValueAtTime(0, at + 0.16);
      tone.connect(gain).connect(context.destination);
      tone.start(at);
      tone.stop(at + 0.2);
    }
    document.body.dataset.beeps = String(beeps);
    byId("beeps").hidden = false;
    byId("beep-result").textContent = "How many beeps did you hear?";
  }
  function answerBeeps(number) {
    state.soundCheck.attempts += 1;
    const right = number === beeps;
    state.soundCheck.passed = state.soundCheck.passed || right;
    byId("beep-result").textContent = right
      ? "Right. You can start." : "That was another number. Turn the sound up and try again.";
    byId("start").disabled = !state.soundCheck.passed;
    if (!right) byId("beeps").hidden = true;
    save();
  }

  // ---- a pair ------------------------------------------------------------------------------
  function current() { return state.plan[state.answers.length]; }
  function fileOf(entry, side) {
    const trial = study.trials.find((item) => item.id === entry.id);
    const letter = side === "left" ? entry.left : other[entry.left];
    return `videos/${trial[letter]}.mp4`;
  }
  function showTrial() {
    const number = state.answers.length;
    if (number >= state.plan.length) { finish(); return; }
    const entry = current();
    seen = { left: false, right: false };
    plays = { left: 0, right: 0 };
    firstChoice = null;
    broken = false;
    byId("problem").hidden = true;
    byId("trial-title").textContent = `Pair ${number + 1} of ${state.plan.length}`;
    byId("progress").value = number / state.plan.length;
    for (const side of sides) {
      videos[side].src = fileOf(entry, side);
      videos[side].load();
      boxes[side].querySelector(".seen").textContent = "";
      boxes[side].classList.remove("playing");
    }
    byId("answers").reset();
    shownAt = performance.now();
    update();
    show("trial");
  }
  function play(side) {
    for (const name of sides) if (name !== side) videos[name].pause();
    const video = videos[side];
    if (!video.paused) { video.pause(); return; }
    if (video.ended) video.currentTime = 0;
    video.muted = false;
    // Pausing at once rejects the promise; a file that cannot be played raises the error event.
    video.play().catch(() => {});
  }
  function chosen() {
    const answers = {};
    for (const question of study.questions) {
      const input = byId("answers").querySelector(`input[name="${question.name}"]:checked`);
      if (input) answers[question.name] = input.value;
    }
    return answers;
  }
  function update() {
    const ready = (seen.left && seen.right) || broken;
    const complete = Object.keys(chosen()).length === study.questions.length;
    for (const input of byId("answers").querySelectorAll("input")) input.disabled = !ready || broken;
    byId("next").disabled = !((ready && complete) || broken);
    byId("todo").textContent = broken ? "" : !ready
      ? `Play ${sides.filter((side) => !seen[side]).join(" and ")} to the end.`
      : complete ? "" : "Now choose.";
  }
  function toLetter(choice, entry) {
    if (choice === "tie") return "tie";
    return choice === "left" ? entry.left : other[entry.left];
  }
  function next() {
    if (byId("next").disabled || byId("trial").hidden) return;
    const entry = current();
    const picked = chosen();
    const answers = {};
    for (const [name, choice] of Object.entries(picked)) answers[name] = toLetter(choice, entry);
    for (const side of sides) videos[side].pause();
    state.answers.push({
      trial: entry.id, left: entry.left, repeat: entry.repeat, answers, failed: broken,
      plays: { ...plays }, seconds: (performance.now() - shownAt) / 1000,
      secondsToFirstChoice: firstChoice === null ? null : (firstChoice - shownAt) / 1000,
      at: new Date().toISOString(),
    });
    save();
    showTrial();
  }
  function choose(choice) {
    const picked = chosen();
    const names = study.questions.map((question) => question.name);
    const name = names.find((item) => !(item in picked)) || names[names.length - 1];
    const input = byId("answers").querySelector(`input[name="${name}"][value="${choice}"]`);
    if (!input || input.disabled) return;
    input.checked = true;
    firstChoice = firstChoice ?? performance.now();
    update();
  }

  // ---- the end -----------------------------------------------------------------------------
  function result() {
    const { plan: unused, ...rest } = state;
    return JSON.stringify(rest, null, 1);
  }
  function finish() {
    if (!state.finished) { state.finished = new Date().toISOString(); save(); }
    for (const side of sides) { videos[side].removeAttribute("src"); videos[side].load(); }
    byId("text").value = result();
    show("done");
  }
  function download() {
    const url = URL.createObjectURL(new Blob([result()], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `answers-${study.study}-${state.participant}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    byId("saved").textContent = `Saved as ${link.download} in your downloads.`;
  }

  function buildForm() {
    const options = [["left", "Left"], ...(study.ties ? [["tie", "No difference"]] : []),
      ["right", "Right"]];
    for (const question of study.questions) {
      const set = document.createElement("fieldset");
      const legend = document.createElement("legend");
      legend.textContent = question.text;
      const row = document.createElement("div");
      row.className = "choices";
      for (const [value, text] of options) {
        const label = document.createElement("label");
        const input = document.createElement("input");
        Object.assign(input, { type: "radio", name: question.name, value, disabled: true });
        label.append(input, text);
        row.append(label);
      }
      set.append(legend, row);
      byId("answers").append(set);
    }
  }
  function bind() {
    byId("beep").addEventListener("click", playBeeps);
    for (let i = 1; i <= 6; i += 1) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = String(i);
      button.addEventListener("click", () => answerBeeps(i));
      byId("beeps").append(button);
    }
    byId("start").addEventListener("click", () => {
      state.label = byId("label").value.trim();
      state.started = state.started || new Date().toISOString();
      state.screen = { width: innerWidth, height: innerHeight };
      save();
      showTrial();
    });
    for (const side of sides) {
      const video = videos[side];
      boxes[side].querySelector(".play").addEventListener("click", () => play(side));
      video.addEventListener("play", () => boxes[side].classList.add("playing"));
      video.addEventListener("pause", () => boxes[side].classList.remove("playing"));
      video.addEventListener("ended", () => {
        seen[side] = true;
        plays[side] += 1;
        boxes[side].querySelector(".seen").textContent = "✓ watched";
        update();
      });
      video.addEventListener("error", () => {
        if (!video.getAttribute("src")) return;
        broken = true;
        byId("problem").textContent = `The ${side} video cannot be played here. Press Next to continue.`;
        byId("problem").hidden = false;
        update();
      });
    }
    byId("answers").addEventListener("change", () => {
      firstChoice = firstChoice ?? performance.now();
      update();
    });
    byId("answers").addEventListener("submit", (event) => event.preventDefault());
    byId("next").addEventListener("click", next);
    byId("save").addEventListener("click", download);
    byId("again").addEventListener("click", () => {
      if (!confirm("Have the answers been saved? They are removed from this page.")) return;
      localStorage.removeItem(storeKey);
      location.reload();
    });
    document.addEventListener("keydown", (event) => {
      if (byId("trial").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { 1: () => play("left"), 2: () => play("right"),
        ArrowLeft: () => choose("left"), ArrowRight: () => choose("right") };
      if (study.ties) keys.ArrowDown = () => choose("tie");
      // Enter on a focused button presses that button.
      if (event.target.tagName !== "BUTTON") keys.Enter = next;
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  state = load();
  buildForm();
  bind();
  byId("count").textContent = String(state.plan.length);
  byId("label").value = state.label;
  if (state.finished) finish();
  else if (state.answers.length) showTrial();
  else show("intro");
})();
