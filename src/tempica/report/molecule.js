(async () => {
  const root = document.currentScript ? document.currentScript.closest("section") : document.getElementById("molecule");
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script.data").textContent);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function fail() {
    find(".fallback").hidden = false;
    find(".views").hidden = true;
    find(".controls").hidden = true;
  }

  function canDraw() {
    try {
      const canvas = document.createElement("canvas");
      const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
      context?.getExtension("WEBGL_lose_context")?.loseContext();
      return Boolean(context);
    } catch {
      return false;
    }
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  async function load() {
    const stream = new Blob([bytes(find("script.viewer3d").textContent)]).stream();
    const text = await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
    const element = document.createElement("script");
    element.textContent = text;
    document.head.append(element);
    return window.$3Dmol;
  }

  const paths = data.paths.map((text) => {
    const raw = new DataView(bytes(text).buffer);
    return Float32Array.from({ length: raw.byteLength / 2 }, (_, i) => raw.getInt16(2 * i, true) * data.step_A);
  });
  const width = 3 * data.n;

  function at(path, share) {
    const last = path.length / width - 1;
    const place = Math.min(share * last, last - 1e-6);
    const first = Math.floor(place);
    const rest = place - first;
    const a = first * width;
    return Float32Array.from({ length: width }, (_, i) => (1 - rest) * path[a + i] + rest * path[a + width + i]);
  }

  function displacement(path) {
    const end = path.length - width;
    return Array.from({ length: data.n }, (_, i) =>
      Math.hypot(...[0, 1, 2].map((k) => path[end + 3 * i + k] - path[3 * i + k])),
    );
  }

  function atoms() {
    let chain = 0;
    let number = 0;
    return data.number.map((residue, i) => {
      if (!data.joined[i]) {
        chain += 1;
        number = 0;
      }
      number += 1;
      const bonds = [];
      if (data.joined[i]) bonds.push(i - 1);
      if (data.joined[i + 1]) bonds.push(i + 1);
      return {
        serial: i, atom: "CA", elem: "C", resn: "ALA", resi: number, chain: `S${chain}`, hetflag: false,
        x: 0, y: 0, z: 0, bonds, bondOrder: bonds.map(() => 1), properties: { place: i },
      };
    });
  }

  function colourOf(variable) {
    return getComputedStyle(root).getPropertyValue(variable).trim();
  }

  function mixed(share) {
    const one = [86, 180, 233];
    const two = [213, 94, 0];
    const part = one.map((value, k) => Math.round(value + (two[k] - value) * share));
    return `#${part.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  }

  const find3d = canDraw() && "DecompressionStream" in window ? await load() : null;
  if (!find3d) return fail();
  find(".controls").hidden = false;

  const spacing = Math.cbrt(paths[0].slice(0, width).reduce((most, value) => Math.max(most, Math.abs(value)), 1) ** 3 / data.n);
  const views = [...root.querySelectorAll(".canvas")].map((element) => {
    const viewer = find3d.createViewer(element, { backgroundColor: colourOf("--soft"), antialias: true });
    const model = viewer.addModel();
    model.addAtoms(atoms());
    element.querySelector("canvas")?.setAttribute("aria-hidden", "true");
    return { element, viewer, model, kind: element.classList.contains("true") ? "true" : "recovered", shown: false };
  });
  for (const one of views) for (const other of views) if (one !== other) one.viewer.linkViewer(other.viewer);

  const pick = find(".axis");
  const along = find(".along");
  const play = find(".play");
  let zoomed = false;

  function colours(view, axis) {
    if (find(".colours").value === "group") {
      const names = [0, 1, 2, 3, 4, 5].map((k) => colourOf(`--group${k}`));
      const none = colourOf("--groupless");
      return data.group.map((group) => (group < 0 ? none : names[group % names.length]));
    }
    const moved = displacement(paths[(axis[view.kind] || axis.recovered || axis.true).path]);
    const fields = [axis.recovered, axis.true].filter(Boolean).map((motion) => displacement(paths[motion.path]));
    const most = Math.max(...fields.flat()) || 1;
    return moved.map((value) => mixed(value / most));
  }

  function draw() {
    const axis = data.axes[Number(pick.value)];
    const share = Number(along.value) / 100;
    const spoken = [];
    for (const view of views) {
      const motion = axis[view.kind];
      const readout = find(`.readout.${view.kind}`);
      view.element.parentElement.classList.toggle("absent", !motion);
      if (!motion) {
        readout.textContent = view.kind === "true" ? "No true variable was matched with it." : "No component was matched with it.";
        continue;
      }
      const place = at(paths[motion.path], share);
      const paint = colours(view, axis);
      view.model.selectedAtoms({}).forEach((atom, i) => {
        [atom.x, atom.y, atom.z] = [place[3 * i], place[3 * i + 1], place[3 * i + 2]];
        atom.color = paint[i];
      });
      const colorfunc = (atom) => paint[atom.serial];
      view.model.setStyle({}, data.traced
        ? { cartoon: { style: "trace", thickness: 0.9, colorfunc } }
        : { sphere: { radius: 0.6 * spacing, colorfunc }, stick: { radius: 0.2 * spacing, colorfunc } });
      if (data.hinge.length && find(".colours").value === "group") {
        view.model.setStyle({ serial: data.hinge }, { sphere: { radius: 1.1, color: colourOf("--hinge") } }, true);
      }
      if (!zoomed) {
        view.viewer.zoomTo();
        view.viewer.zoom(1.15);
      }
      view.viewer.render();
      const value = motion.value[0] + share * (motion.value[motion.value.length - 1] - motion.value[0]);
      readout.textContent = `${axis.name} ${value.toPrecision(3)} ${motion.unit}`;
      spoken.push(`${view.kind} ${readout.textContent}`);
    }
    zoomed = true;
    along.setAttribute("aria-valuetext", spoken.join(", "));
    const key = find(".key");
    if (key) key.hidden = find(".colours").value !== "group";
  }

  let playing = false;
  let before = 0;
  let phase = 0;
  function step(now) {
    if (!playing) return;
    if (now - before > 40) {
      phase += Math.min(now - before, 200) / 3500;
      before = now;
      along.value = String(Math.round(50 - 50 * Math.cos(2 * Math.PI * phase)));
      draw();
    }
    requestAnimationFrame(step);
  }
  function set(on) {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    if (on) {
      before = performance.now();
      phase = Math.acos(1 - Number(along.value) / 50) / (2 * Math.PI);
      requestAnimationFrame(step);
    }
  }

  play.addEventListener("click", () => set(!playing));
  along.addEventListener("input", () => { set(false); draw(); });
  pick.addEventListener("change", draw);
  find(".colours").addEventListener("change", draw);
  dark.addEventListener("change", () => {
    for (const view of views) view.viewer.setBackgroundColor(colourOf("--soft"), 1);
    draw();
  });
  for (const view of views) {
    view.element.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] }[event.key];
      if (!turn) return;
      event.preventDefault();
      view.viewer.rotate(...turn);
    });
  }
  draw();
  root.dataset.drawn = "true";
  if ("IntersectionObserver" in window) {
    new IntersectionObserver((seen) => { if (!seen[0].isIntersecting) set(false); }).observe(root);
  }
})();
