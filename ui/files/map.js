// Draws the points of a map, lets people move, zoom and look at them, and tells which area they choose. Points come
// packed (see `packed` in ui/map.py); places are from 0 to 1, y upwards. Areas are told in the same measure.
const NEAR = 8, MARGIN = 12, TIP_MS = 120;
const view = { scale: 1, x: 0, y: 0 };
let mode = 'rectangle', area = null, shown = '', current = null;

function setUp() {
  const root = element.querySelector('.map');
  if (!root) return;
  const canvas = root.querySelector('canvas'), sent = root.dataset;
  const now = [root, canvas, sent.points, sent.colours, sent.labels];
  if (current && now.every((one, place) => one === current.now[place])) { current.fit(); return; }
  current?.ended.abort();
  const ended = new AbortController(), { signal } = ended;
  const tip = root.querySelector('.map-tip'), pen = canvas.getContext('2d');
  const { ids, xs, ys, codes } = unpacked(root.dataset.points, Number(root.dataset.count));
  const colours = JSON.parse(root.dataset.colours), labels = JSON.parse(root.dataset.labels), ramp = JSON.parse(root.dataset.ramp);
  const byCode = grouped(codes);
  const order = [...byCode.keys()].sort((one, other) => byCode.get(other).length - byCode.get(one).length);
  const hidden = new Set();
  let width = 0, height = 0, pending = 0, pressed = null, hovered = -1, tipTimer = 0;
  if (shown !== root.dataset.gallery) Object.assign(view, { scale: 1, x: 0, y: 0 });
  shown = root.dataset.gallery;
  area = null;

  const across = (x) => MARGIN + (x * view.scale + view.x) * (width - 2 * MARGIN);
  const down = (y) => MARGIN + ((1 - y) * view.scale + view.y) * (height - 2 * MARGIN);
  const back = (left, top) => [
    ((left - MARGIN) / (width - 2 * MARGIN) - view.x) / view.scale,
    1 - ((top - MARGIN) / (height - 2 * MARGIN) - view.y) / view.scale,
  ];

  function draw() {
    pending = 0;
    const style = getComputedStyle(root), ratio = devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const size = Math.min(12, Math.max(2, 9 - 1.5 * Math.log10(ids.length + 1)) * Math.sqrt(view.scale));
    for (const code of order) {
      if (hidden.has(code)) continue;
      pen.fillStyle = colours[code];
      for (const place of byCode.get(code)) {
        const left = across(xs[place] / 65535), top = down(ys[place] / 65535);
        if (left > -size && left < width + size && top > -size && top < height + size) {
          pen.fillRect(left - size / 2, top - size / 2, size, size);
        }
      }
    }
    if (hovered >= 0) {
      pen.strokeStyle = style.getPropertyValue('--body-text-color');
      pen.lineWidth = 2;
      pen.strokeRect(across(xs[hovered] / 65535) - size, down(ys[hovered] / 65535) - size, 2 * size, 2 * size);
    }
    if (area && area.length > 1) {
      const line = area.length === 2 ? corners(area) : area;
      pen.beginPath();
      for (const [x, y] of line) pen.lineTo(across(x), down(y));
      pen.closePath();
      pen.strokeStyle = style.getPropertyValue('--link-text-color');
      pen.lineWidth = 2;
      pen.stroke();
      pen.globalAlpha = .12;
      pen.fillStyle = pen.strokeStyle;
      pen.fill();
      pen.globalAlpha = 1;
    }
    canvas.dataset.drawn = String(ids.length);
  }
  const redraw = () => { pending = pending || requestAnimationFrame(draw); };

  function zoom(factor, left = width / 2, top = height / 2) {
    const scale = Math.min(200, Math.max(.5, view.scale * factor)), grown = scale / view.scale;
    const x = (left - MARGIN) / (width - 2 * MARGIN), y = (top - MARGIN) / (height - 2 * MARGIN);
    Object.assign(view, { scale, x: x - (x - view.x) * grown, y: y - (y - view.y) * grown });
    redraw();
  }

  function move(left, top) {
    view.x += left / (width - 2 * MARGIN);
    view.y += top / (height - 2 * MARGIN);
    redraw();
  }

  function nearest(left, top) {
    let best = -1, least = NEAR * NEAR;
    for (let place = 0; place < ids.length; place++) {
      if (hidden.has(codes[place])) continue;
      const far = (across(xs[place] / 65535) - left) ** 2 + (down(ys[place] / 65535) - top) ** 2;
      if (far < least) [best, least] = [place, far];
    }
    return best;
  }

  function hover(place, left, top) {
    if (place === hovered) return;
    hovered = place;
    canvas.style.cursor = place >= 0 && mode === 'move' ? 'pointer' : '';
    tip.hidden = true;
    clearTimeout(tipTimer);
    redraw();
    if (place < 0) return;
    tipTimer = setTimeout(() => {
      tip.querySelector('img').src = `/v1/galleries/${encodeURIComponent(shown)}/images/${ids[place]}/thumbnail`;
      tip.querySelector('span').textContent = `image ${ids[place]}${told(codes[place])}`;
      tip.style.left = `${Math.min(left + 14, width - 150)}px`;
      tip.style.top = `${top + 14 + 170 > height ? Math.max(0, top - 180) : top + 14}px`;
      tip.hidden = false;
    }, TIP_MS);
  }

  function told(code) {
    if (labels[code] !== undefined) return `, ${labels[code]}`;
    if (!ramp) return '';
    return `, ${root.dataset.colour} about ${(ramp[0] + (ramp[1] - ramp[0]) * code / 253).toPrecision(4)}`;
  }

  const tell = () => trigger('select', { index: 0, value: { points: area, without: [...hidden] } });
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    pressed = { from: at(event), last: at(event), moved: false };
  }, { signal });
  canvas.addEventListener('pointermove', (event) => {
    const now = at(event);
    if (!pressed) { hover(nearest(...now), ...now); return; }
    pressed.moved = pressed.moved || Math.hypot(now[0] - pressed.from[0], now[1] - pressed.from[1]) > 4;
    if (!pressed.moved) return;
    hover(-1);
    if (mode === 'move') move(now[0] - pressed.last[0], now[1] - pressed.last[1]);
    else if (mode === 'rectangle') area = [back(...pressed.from), back(...now)];
    else area = [...(pressed.line ||= [back(...pressed.from)]), back(...now)];
    if (mode === 'lasso') pressed.line = area;
    pressed.last = now;
    redraw();
  }, { signal });
  canvas.addEventListener('pointerup', (event) => {
    const was = pressed;
    pressed = null;
    if (was && was.moved && mode !== 'move') {
      if (mode === 'lasso' && area.length === 2) area.push(area[0]);
      tell();
    } else if (was && !was.moved) {
      const place = nearest(...at(event));
      if (place >= 0) location.assign(`/case?gallery=${encodeURIComponent(shown)}&image=${ids[place]}`);
    }
  }, { signal });
  canvas.addEventListener('pointerleave', () => { if (!pressed) hover(-1); }, { signal });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...at(event));
  }, { passive: false, signal });
  canvas.addEventListener('keydown', (event) => {
    const step = 60;
    const acts = {
      ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      '+': () => zoom(1.5), '=': () => zoom(1.5), '-': () => zoom(1 / 1.5), 0: whole,
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }, { signal });
  function whole() { Object.assign(view, { scale: 1, x: 0, y: 0 }); redraw(); }

  function press() {
    for (const button of root.querySelectorAll('button[data-mode]')) button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
    canvas.dataset.mode = mode;
  }
  root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    if (button.dataset.mode) { mode = button.dataset.mode; press(); }
    else if (button.dataset.zoom) zoom(Number(button.dataset.zoom));
    else if ('reset' in button.dataset) whole();
    else { area = null; redraw(); tell(); }
  }, { signal });
  root.addEventListener('change', (event) => {
    const code = Number(event.target.dataset.code);
    if (event.target.checked) hidden.delete(code); else hidden.add(code);
    redraw();
    tell();
  }, { signal });

  function fit() {
    const ratio = devicePixelRatio || 1;
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width === size[0] && canvas.height === size[1]) return;
    [canvas.width, canvas.height] = size;
    draw(); // at once: a new size has emptied the canvas
  }

  for (const box of root.querySelectorAll('.map-legend input')) box.checked = true;
  press();
  current = { now, ended, fit };
  const resized = new ResizeObserver(fit);
  resized.observe(canvas);
  signal.addEventListener('abort', () => resized.disconnect());
  fit();
  redraw();
}

function unpacked(text, count) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  return {
    ids: new Uint32Array(bytes, 0, count),
    xs: new Uint16Array(bytes, 4 * count, count),
    ys: new Uint16Array(bytes, 6 * count, count),
    codes: new Uint8Array(bytes, 8 * count, count),
  };
}

function grouped(codes) {
  const groups = new Map();
  codes.forEach((code, place) => { if (!groups.has(code)) groups.set(code, []); groups.get(code).push(place); });
  return groups;
}

function corners([[x0, y0], [x1, y1]]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

// Not by `watch`: a map that comes while the page is still being put together would go by unseen.
// Gradio changes the elements of the map before into those of the next, and takes the size of the canvas away.
new MutationObserver(setUp).observe(element, {
  childList: true, subtree: true, attributes: true, attributeFilter: ['data-points', 'data-colours', 'data-labels', 'width'],
});
setUp();
