(() => {
  const root = document.currentScript.closest("section");
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script.data").textContent);
  const slider = find(".frame");
  const play = find(".play");
  const n = data.time.length;
  const [width, height] = data.edge;
  const pixels = { clean: null, recorded: null };
  let turnX = 0;
  let turnY = 0;

  const structures = (data.structures || []).map((text) => {
    const raw = new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    return Float32Array.from({ length: raw.byteLength / 2 }, (_, i) => raw.getInt16(2 * i, true) * data.step);
  });
  const reach = structures.reduce((most, all) => {
    for (let i = 0; i < all.length; i += 3) most = Math.max(most, Math.hypot(all[i], all[i + 1], all[i + 2]));
    return most;
  }, 1e-9);

  function picture(kind, frame) {
    const canvas = find(`canvas.${kind}`);
    if (!canvas || !pixels[kind]) return;
    if (canvas.width !== width) [canvas.width, canvas.height] = [width, height];
    const x = (frame % data.columns) * width;
    const y = Math.floor(frame / data.columns) * height;
    canvas.getContext("2d").drawImage(pixels[kind], x, y, width, height, 0, 0, width, height);
  }

  function turned(positions, frame) {
    const [cx, sx, cy, sy] = [Math.cos(turnX), Math.sin(turnX), Math.cos(turnY), Math.sin(turnY)];
    const start = 3 * data.n * frame;
    return Array.from({ length: data.n }, (_, i) => {
      const [x, y, z] = positions.subarray(start + 3 * i, start + 3 * i + 3);
      const across = cy * x + sy * z;
      const depth = cy * z - sy * x;
      return [across, cx * y - sx * depth, sx * y + cx * depth];
    });
  }

  function structure(frame) {
    const canvas = find("canvas.structure");
    if (!canvas || !structures.length) return;
    const scale = window.devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    const edge = Math.max(1, Math.round(box.width * scale));
    if (canvas.width !== edge) [canvas.width, canvas.height] = [edge, edge];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, edge, edge);
    context.lineCap = "round";
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const groups = [0, 1, 2, 3, 4, 5].map((k) => colour(`--group${k}`));
    const grown = (0.46 * edge) / reach;
    const parts = [];
    structures.forEach((positions, which) => {
      const place = turned(positions, frame);
      for (let i = 0; i < data.n; i += 1) {
        const before = data.joined[i] ? place[i - 1] : place[i];
        if (!data.joined[i] && data.joined[i + 1]) continue;
        const group = data.group[i];
        const paint = which ? colour("--behind") : group < 0 ? colour("--found") : groups[group % groups.length];
        parts.push([0.5 * (before[2] + place[i][2]) - (which ? reach : 0), before, place[i], paint, which]);
      }
    });
    parts.sort((one, two) => one[0] - two[0]);
    for (const [depth, from, to, paint, which] of parts) {
      const near = 0.75 + (0.25 * (depth + (which ? reach : 0))) / reach;
      context.globalAlpha = which ? 1 : Math.max(0.45, near);
      context.strokeStyle = paint;
      context.lineWidth = edge * (which ? 0.02 : 0.012) * near;
      context.beginPath();
      context.moveTo(0.5 * edge + grown * from[0], 0.5 * edge - grown * from[1]);
      context.lineTo(0.5 * edge + grown * to[0], 0.5 * edge - grown * to[1]);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  const said = (value, unit) => (value === null ? "unknown" : `${value.toPrecision(3)} ${unit}`);

  function traces(frame) {
    return [...root.querySelectorAll(".trace")].map((element, i) => {
      const trace = data.traces[i];
      const cursor = element.querySelector(".cursor");
      cursor.setAttribute("x1", frame);
      cursor.setAttribute("x2", frame);
      const recovered = `recovered ${said(trace.found[frame], trace.unit)}`;
      const text = trace.true ? `true ${said(trace.true[frame], trace.unit)}, ${recovered}` : recovered;
      element.querySelector(".readout").textContent = text;
      return `${trace.name} ${text}`;
    });
  }

  function draw() {
    const frame = Number(slider.value);
    picture("clean", frame);
    picture("recorded", frame);
    structure(frame);
    const when = `frame ${frame + 1} of ${n}, ${data.time[frame]} ${data.unit}`;
    find(".now").textContent = when;
    slider.setAttribute("aria-valuetext", [when, ...traces(frame)].join("; "));
  }

  let playing = false;
  let before = 0;
  function step(now) {
    if (!playing) return;
    if (now - before > 90) {
      before = now;
      slider.value = String((Number(slider.value) + 1) % n);
      draw();
    }
    requestAnimationFrame(step);
  }
  function set(on) {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    if (on) requestAnimationFrame(step);
  }

  play.addEventListener("click", () => set(!playing));
  slider.addEventListener("input", () => { set(false); draw(); });
  slider.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    set(!playing);
  });
  root.querySelectorAll(".plot").forEach((plot) => {
    plot.addEventListener("pointerdown", (event) => {
      const box = plot.querySelector("svg").getBoundingClientRect();
      set(false);
      slider.value = String(Math.round(((event.clientX - box.left) / box.width) * (n - 1)));
      draw();
    });
  });
  find("canvas.structure")?.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    turnY += event.movementX / 120;
    turnX += event.movementY / 120;
    structure(Number(slider.value));
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  if ("IntersectionObserver" in window) {
    new IntersectionObserver((seen) => { if (!seen[0].isIntersecting) set(false); }).observe(root);
  }

  find(".controls").hidden = false;
  draw();
  Promise.all(Object.keys(pixels).filter((kind) => data[kind]).map(async (kind) => {
    const image = new Image();
    image.src = data[kind];
    await image.decode();
    pixels[kind] = image;
  })).then(() => {
    draw();
    root.dataset.drawn = "true";
  });
})();
