"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const { names } = JSON.parse(document.getElementById("page-data").textContent);
  const tell = (type, detail) => document.dispatchEvent(new CustomEvent(type, { detail }));
  const hidden = new Set();
  const texts = names.map((name) => [name.toLowerCase()]);

  // Text searched by the filter: each run's name, its cells, and "setting=value".
  for (const table of all("#runs table, #settings table")) {
    const heads = all("thead th", table).map((cell) => cell.textContent.trim().toLowerCase());
    for (const row of all("tbody tr", table)) {
      const words = texts[Number(row.dataset.run)];
      all("th, td", row).forEach((cell, i) => {
        const value = cell.textContent.trim().toLowerCase();
        words.push(value, `${heads[i]}=${value}`);
      });
    }
  }
  function matches(index, query) {
    return query.split(/\s+/).filter(Boolean)
      .every((word) => texts[index].some((text) => text.includes(word)));
  }
  function applyFilter() {
    const query = document.getElementById("filter").value.trim().toLowerCase();
    const shown = names.map((_, i) => matches(i, query) && !hidden.has(i));
    const inList = names.map((_, i) => matches(i, query));
    for (const element of all("[data-run]")) {
      const index = Number(element.dataset.run);
      // The list of runs keeps unchecked runs, so that they can be checked again.
      element.hidden = !(element.closest("#runs") ? inList[index] : shown[index]);
    }
    for (const box of all(".shown")) box.checked = !hidden.has(Number(box.dataset.for));
    for (const clip of all(".clip")) {
      clip.hidden = all(".video", clip).every((figure) => figure.hidden);
      for (const figure of all(".video", clip)) {
        if (figure.hidden) figure.querySelector("video").pause();
      }
    }
    document.getElementById("count").textContent =
      `${shown.filter(Boolean).length} of ${names.length} runs shown`;
    tell("runs-shown", shown);
  }
  document.getElementById("filter").addEventListener("input", applyFilter);
  for (const box of all(".shown")) {
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(Number(box.dataset.for));
      else hidden.add(Number(box.dataset.for));
      applyFilter();
    });
  }
  document.getElementById("all").addEventListener("click", () => { hidden.clear(); applyFilter(); });
  document.getElementById("none").addEventListener("click", () => {
    names.forEach((_, i) => hidden.add(i));
    applyFilter();
  });

  // ---- sorting -----------------------------------------------------------------------------
  function sortBy(button) {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const value = (row) => {
      const cell = row.children[column];
      return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
    };
    const asNumber = (text) => (text === "" ? NaN : Number(text.replaceAll(",", "")));
    const rows = [...body.rows];
    const numeric = button.dataset.kind !== "text"
      && rows.some((row) => !Number.isNaN(asNumber(value(row))));
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
      const [m, n] = [asNumber(x), asNumber(y)];
      // Missing values come last in both directions.
      if (Number.isNaN(m) || Number.isNaN(n)) return Number.isNaN(m) - Number.isNaN(n);
      return sign * (m - n);
    });
    body.append(...rows);
  }
  for (const button of all(".sort")) button.addEventListener("click", () => sortBy(button));

  // ---- the run of a row that is pointed at is highlighted in the curves -----------------------
  for (const row of all("tr[data-run]")) {
    const index = Number(row.dataset.run);
    for (const name of ["pointerenter", "focusin"]) row.addEventListener(name, () => tell("run-pointed", index));
    for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => tell("run-pointed", null));
  }

  // ---- videos --------------------------------------------------------------------------------
  function attach(video) {
    if (video.src) return;
    if (video.dataset.embedded) {
      const text = document.getElementById(video.dataset.embedded).textContent;
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    } else video.src = video.dataset.source;
    video.preload = "auto";
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      attach(entry.target);
      watcher.unobserve(entry.target);
    }
  }, { rootMargin: "200px" });
  for (const video of all("video")) watcher.observe(video);

  function drawLine(svg, kind, seconds, duration, top, bottom) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const x = (1000 * seconds) / duration;
    line.setAttribute("class", kind);
    line.setAttribute("x1", x); line.setAttribute("x2", x);
    line.setAttribute("y1", top); line.setAttribute("y2", bottom);
    svg.append(line);
    return line;
  }
  const flashes = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  function drawBeats(figure, video) {
    const svg = figure.querySelector(".beats");
    const music = JSON.parse(svg.dataset.music);
    const motion = JSON.parse(svg.dataset.motion);
    svg.replaceChildren();
    const axis = drawLine(svg, "axis", 0, 1, 20, 20);
    axis.setAttribute("x2", 1000);
    for (const beat of music) drawLine(svg, "music", beat, video.duration, 1, 18);
    for (const beat of motion) drawLine(svg, "motion", beat, video.duration, 22, 39);
    const head = drawLine(svg, "head", 0, video.duration, 0, 40);
    const follow = () => {
      const x = (1000 * video.currentTime) / video.duration;
      head.setAttribute("x1", x); head.setAttribute("x2", x);
      const near = music.some((beat) => video.currentTime >= beat && video.currentTime < beat + 0.12);
      figure.classList.toggle("on-beat", flashes && near && !video.paused);
      if (!video.paused) requestAnimationFrame(follow);
    };
    for (const name of ["play", "seeked", "pause"]) video.addEventListener(name, follow);
  }
  for (const figure of all(".video")) {
    const video = figure.querySelector("video");
    video.addEventListener("loadedmetadata", () => drawBeats(figure, video));
  }

  function visibleVideos(clip) {
    return all(".video", clip).filter((figure) => !figure.hidden)
      .map((figure) => figure.querySelector("video"));
  }
  function soundOf(clip) {
    for (const figure of all(".video", clip)) {
      figure.querySelector("video").muted = !figure.querySelector("input").checked;
    }
    // If the chosen run is filtered out, the first visible video has sound.
    const videos = visibleVideos(clip);
    if (videos.length && videos.every((video) => video.muted)) videos[0].muted = false;
  }
  const ready = (video) => new Promise((resolve) => {
    attach(video);
    if (video.readyState >= 3) { resolve(); return; }
    video.addEventListener("canplay", resolve, { once: true });
    video.addEventListener("error", resolve, { once: true });
    video.load();
  });
  function stop(clip) {
    clearInterval(clip.timer);
    clip.playing = false;
    for (const video of all("video", clip)) video.pause();
    const button = clip.querySelector(".together");
    button.textContent = "Play together";
    button.setAttribute("aria-pressed", "false");
  }
  async function together(clip) {
    for (const other of all(".clip")) if (other.playing) stop(other);
    clip.playing = true;
    const button = clip.querySelector(".together");
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
    const videos = visibleVideos(clip);
    soundOf(clip);
    await Promise.all(videos.map(ready));
    if (!clip.playing) return;
    const restart = () => {
      for (const video of videos) {
        video.currentTime = 0;
        video.play().catch(() => {});
      }
    };
    restart();
    // Videos follow the one with sound; those more than 80 ms apart from it are moved.
    const leader = videos.find((video) => !video.muted) || videos[0];
    clip.timer = setInterval(() => {
      if (leader.ended) { restart(); return; }
      for (const video of videos) {
        if (video !== leader && !video.ended && Math.abs(video.currentTime - leader.currentTime) > 0.08) {
          video.currentTime = leader.currentTime;
        }
      }
    }, 200);
  }
  for (const clip of all(".clip")) {
    clip.querySelector(".together").addEventListener("click", () => {
      if (clip.playing) stop(clip); else together(clip);
    });
    clip.addEventListener("change", () => soundOf(clip));
    for (const video of all("video", clip)) {
      video.addEventListener("click", () => {
        if (clip.playing) { stop(clip); return; }
        attach(video);
        video.muted = false;
        if (video.paused) video.play().catch(() => {}); else video.pause();
      });
    }
  }
  applyFilter();
})();
