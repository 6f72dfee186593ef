// Viewers of full pictures, one or several that move together: window, zoom, place, slice, and a heat map on top.
// The API renders every picture; of those asked for while somebody drags, the last one is drawn.

const KEPT = 24;      // pictures of a viewer that stay in memory
const PAUSE_MS = 40;  // a drag that goes on for less asks for one picture
const MOST_ZOOM = 40, LEAST_ZOOM = 0.25;

const short = (number) => String(Math.round(number * 100) / 100);
const within = (number, low, high) => Math.min(high, Math.max(low, number));

function windowOf(button) {
  const {window, level, width} = button.dataset;
  return [window, level, width, `${button.textContent.trim()} L ${short(level)} W ${short(width)}`];
}

async function ask(address, options) {
  const response = await fetch(address, options).catch(() => { throw new Error(UNANSWERED); });
  if (response.ok) return response;
  throw new Error(problemWords(await response.json().catch(() => ({}))));
}

class Viewer {
  constructor(node, group) {
    Object.assign(this, {node, group, slices: JSON.parse(node.dataset.slices), index: Number(node.dataset.start)});
    for (const part of ['stage', 'layers', 'picture', 'heat', 'zoom', 'slice', 'window', 'problem'])
      this[part] = node.querySelector('.viewer-' + part);
    this.isWindowed = 'windowed' in node.dataset;
    this.kept = new Map();
    this.resized = new ResizeObserver(() => this.place());
    this.resized.observe(this.stage);
  }

  close() {
    this.isClosed = true;
    this.resized.disconnect();
    for (const picture of this.kept.values()) picture.then(URL.revokeObjectURL, () => {});
    if (this.heat.src) URL.revokeObjectURL(this.heat.src);
  }

  address(index) {
    const [image, frame] = this.slices[index];
    const asked = new URLSearchParams();
    if (frame !== null) asked.set('frame', frame);
    if (this.isWindowed && this.group.window) asked.set('window', this.group.window);
    return `${this.group.images}/${image}/picture?${asked}`;
  }

  // Returns the address of a picture in memory: the API's answers must not stay in the browser's own cache.
  fetched(address) {
    let picture = this.kept.get(address);
    if (!picture) {
      picture = ask(address).then((found) => found.blob()).then(URL.createObjectURL);
      picture.catch(() => this.kept.delete(address));
    }
    this.kept.delete(address);
    this.kept.set(address, picture);
    if (this.kept.size > KEPT) {
      const [oldest, gone] = this.kept.entries().next().value;
      this.kept.delete(oldest);
      gone.then(URL.revokeObjectURL, () => {});
    }
    return picture;
  }

  async show() {
    this.again = true;
    if (this.isBusy) return;
    this.isBusy = true;
    this.stage.setAttribute('aria-busy', 'true');
    while (this.again && !this.isClosed) {
      this.again = false;
      const index = this.index, address = this.address(index);
      try {
        await this.draw(await this.fetched(address));
        this.problem.hidden = true;
      } catch (error) {
        if (this.again) continue;
        this.problem.textContent = `This is its small picture, as the full one cannot be shown. ${error.message}`;
        this.problem.hidden = false;
        await this.draw(`${this.group.images}/${this.slices[index][0]}/thumbnail`).catch(() => {});
      }
      this.node.dataset.shown = address;
    }
    this.isBusy = false;
    this.stage.setAttribute('aria-busy', 'false');
    for (const next of [this.index + 1, this.index - 1])
      if (next in this.slices && !this.isClosed) this.fetched(this.address(next)).catch(() => {});
  }

  async draw(source) {
    this.picture.src = source;
    await this.picture.decode();
    this.place();
  }

  // How many pixels of the screen one of the picture takes where the whole picture just fits.
  get fit() {
    return Math.min(this.stage.clientWidth / this.picture.naturalWidth, this.stage.clientHeight / this.picture.naturalHeight);
  }

  place() {
    const {naturalWidth: width, naturalHeight: height} = this.picture;
    if (!width || !this.stage.clientWidth) return;
    const scale = this.fit * this.group.zoom;
    const left = this.stage.clientWidth / 2 - this.group.x * width * scale;
    const top = this.stage.clientHeight / 2 - this.group.y * height * scale;
    this.layers.style.width = `${width}px`;
    this.layers.style.height = `${height}px`;
    this.layers.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    this.zoom.textContent = `${Math.round(100 * scale * devicePixelRatio)} %`;
    if (this.slices.length > 1) this.slice.textContent = `${this.node.dataset.word} ${this.index + 1} of ${this.slices.length}`;
    this.window.textContent = this.isWindowed && this.group.window ? this.group.windowName : 'as the encoder sees it';
  }

  cool() {
    if (this.heat.src) URL.revokeObjectURL(this.heat.src);
    this.heat.removeAttribute('src');
    this.heat.hidden = true;
  }
}

class Group {
  constructor(root) {
    Object.assign(this, {root, images: root.dataset.images, window: '', windowName: '', zoom: 1, x: 0.5, y: 0.5});
    this.steps = Number(root.dataset.steps);
    this.index = Number(root.dataset.start);
    this.viewers = [...root.querySelectorAll('.viewer')].map((node) => new Viewer(node, this));
    this.told = root.querySelector('.viewer-told');
    // In false colours level and width mean nothing.
    this.hasLevels = true;
    this.isFalse = 'falseColours' in root.dataset;
    const first = root.querySelector('[data-window][aria-pressed="true"]');
    if (first) this.takeWindow(...windowOf(first));
    this.print();
    this.viewers.forEach((viewer) => viewer.show());
  }

  close() {
    clearTimeout(this.waiting);
    this.viewers.forEach((viewer) => viewer.close());
  }

  control(name) {
    return this.root.querySelector(`[data-set="${name}"]`);
  }

  showSoon() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.viewers.forEach((viewer) => viewer.show()), PAUSE_MS);
    this.place();
  }

  place() {
    this.viewers.forEach((viewer) => viewer.place());
    this.print();
  }

  // Writes beside each slider what it stands at.
  print() {
    for (const input of this.root.querySelectorAll('input[type=range]')) {
      const value = Number(input.value);
      const text = input.dataset.set === 'slice' ? `${value + 1} of ${this.steps}`
        : input.dataset.set === 'opacity' ? `${Math.round(100 * value)} %` : short(value);
      input.nextElementSibling.textContent = text;
      if (input.dataset.set === 'slice') input.setAttribute('aria-valuetext', text);
    }
  }

  takeWindow(window, level, width, name) {
    this.window = window;
    this.hasLevels = Boolean(window) || !this.isFalse;
    for (const slider of ['level', 'width']) this.control(slider).disabled = !this.hasLevels;
    this.windowName = name;
    if (level !== undefined) {
      this.control('level').value = level;
      this.control('width').value = width;
    }
    for (const preset of this.root.querySelectorAll('[data-window]'))
      preset.setAttribute('aria-pressed', String(preset.dataset.window === window));
  }

  setWindow(...window) {
    this.takeWindow(...window);
    this.showSoon();
  }

  setLevels(level, width) {
    const levels = this.control('level'), widths = this.control('width');
    // The sliders keep what is set within their ends, and to their steps.
    levels.value = level;
    widths.value = width;
    level = Number(levels.value);
    width = Number(widths.value);
    this.setWindow(`${short(level)},${short(width)}`, level, width, `L ${short(level)} W ${short(width)}`);
  }

  goTo(index) {
    index = within(index, 0, this.steps - 1);
    if (index === this.index) return;
    this.index = index;
    this.control('slice').value = index;
    const place = index / (this.steps - 1);
    for (const viewer of this.viewers) viewer.index = Math.round(place * (viewer.slices.length - 1));
    this.cool(this.hasHeat ? 'The heat map was of another picture; show it again for this one.' : '');
    this.told.textContent = `${this.viewers[0].node.dataset.word} ${index + 1} of ${this.steps}`;
    this.showSoon();
  }

  // x, y: the place of the screen that stays where it is; the middle by default.
  zoomTo(zoom, viewer = this.viewers[0], x, y) {
    const {stage, picture} = viewer;
    const before = viewer.fit * this.zoom;
    this.zoom = within(zoom, LEAST_ZOOM, MOST_ZOOM);
    if (x !== undefined && picture.naturalWidth) {
      const after = viewer.fit * this.zoom;
      const box = stage.getBoundingClientRect();
      const right = x - box.left - stage.clientWidth / 2, down = y - box.top - stage.clientHeight / 2;
      this.x += right / picture.naturalWidth * (1 / before - 1 / after);
      this.y += down / picture.naturalHeight * (1 / before - 1 / after);
    }
    if (this.zoom === 1) this.x = this.y = 0.5;
    this.move(0, 0, viewer);
  }

  // right, down: by how many pixels of the screen the picture goes.
  move(right, down, viewer) {
    const scale = viewer.fit * this.zoom;
    this.x = within(this.x - right / (viewer.picture.naturalWidth * scale || 1), 0, 1);
    this.y = within(this.y - down / (viewer.picture.naturalHeight * scale || 1), 0, 1);
    this.place();
  }

  do(what, viewer = this.viewers[0]) {
    if (what === 'in') this.zoomTo(this.zoom * 1.25, viewer);
    if (what === 'out') this.zoomTo(this.zoom / 1.25, viewer);
    if (what === 'fit') this.zoomTo(1, viewer);
    if (what === 'actual') this.zoomTo(1 / (viewer.fit * devicePixelRatio), viewer);
    if (what === 'cool') this.cool('');
  }

  press(key, viewer, withControl) {
    const named = {'+': 'in', '=': 'in', '-': 'out', '0': 'fit', '1': 'actual'}[key];
    if (named && !withControl) return this.do(named, viewer), true;
    const step = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[key];
    const isVertical = key === 'ArrowUp' || key === 'ArrowDown';
    const slices = {PageUp: -1, PageDown: 1, Home: -this.index, End: this.steps}[key];
    // The whole picture has nowhere to go: up and down go through its slices then.
    const turned = isVertical && this.steps > 1 && (this.zoom <= 1 || withControl);
    if (this.steps > 1 && (slices !== undefined || turned))
      return this.goTo(this.index + (turned ? (key === 'ArrowUp' ? -1 : 1) : slices)), true;
    if (step && !withControl) return this.move(...step, viewer), true;
    return false;
  }

  get hasHeat() {
    return this.viewers.some((viewer) => !viewer.heat.hidden);
  }

  cool(words) {
    const opacity = this.control('opacity');
    if (!opacity) return;
    this.heatTurn = (this.heatTurn || 0) + 1;
    this.viewers.forEach((viewer) => viewer.cool());
    opacity.disabled = this.root.querySelector('[data-do="cool"]').disabled = true;
    this.root.querySelector('.viewer-heat-told').textContent = words;
  }

  async warm(text) {
    const viewer = this.viewers[0], told = this.root.querySelector('.viewer-heat-told');
    const [image, frame] = viewer.slices[viewer.index];
    this.cool('Looking for it ...');
    const turn = this.heatTurn;
    try {
      const response = await ask(`${this.images}/${image}/heatmap`, {
        method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({text, form: 'layer', frame}),
      });
      const layer = URL.createObjectURL(await response.blob());
      if (turn !== this.heatTurn) return URL.revokeObjectURL(layer);
      viewer.heat.src = layer;
      await viewer.heat.decode();
      viewer.heat.style.opacity = this.control('opacity').value;
      viewer.heat.hidden = false;
      this.control('opacity').disabled = this.root.querySelector('[data-do="cool"]').disabled = false;
      told.textContent = 'The brighter, the more a place answers the text beside the other places of this picture. '
        + 'There is a brightest place even where the picture does not show it.';
    } catch (error) {
      if (turn === this.heatTurn) told.textContent = `No heat map. ${error.message}`;
    }
  }
}

let group = null;

function start() {
  const root = element.querySelector('.viewers');
  if (group && group.root === root) return;
  if (group) group.close();
  group = root ? new Group(root) : null;
}

function viewerAt(node) {
  return group && group.viewers.find((viewer) => viewer.stage === node.closest('.viewer-stage'));
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!group || !button) return;
  if (button.dataset.do) group.do(button.dataset.do);
  if ('window' in button.dataset) group.setWindow(...windowOf(button));
});

element.addEventListener('input', (event) => {
  const what = group && event.target.dataset.set, value = Number(event.target.value);
  if (what === 'slice') group.goTo(value);
  if (what === 'level' || what === 'width')
    group.setLevels(Number(group.control('level').value), Number(group.control('width').value));
  if (what === 'opacity') {
    group.viewers[0].heat.style.opacity = value;
    group.print();
  }
});

element.addEventListener('submit', (event) => {
  event.preventDefault();
  if (group) group.warm(new FormData(event.target).get('text'));
});

element.addEventListener('keydown', (event) => {
  const viewer = viewerAt(event.target);
  if (viewer && !event.altKey && !event.metaKey && group.press(event.key, viewer, event.ctrlKey)) event.preventDefault();
});

element.addEventListener('wheel', (event) => {
  const viewer = viewerAt(event.target);
  if (!viewer) return;
  event.preventDefault();
  if (event.ctrlKey && group.steps > 1) group.goTo(group.index + Math.sign(event.deltaY));
  else group.zoomTo(group.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15), viewer, event.clientX, event.clientY);
}, {passive: false});

let drag = null;

element.addEventListener('pointerdown', (event) => {
  const viewer = viewerAt(event.target);
  const isWindowing = event.button === 2 && viewer && viewer.isWindowed && group.hasLevels;
  if (!viewer || (event.button !== 0 && !isWindowing)) return;
  drag = {viewer, isWindowing, x: event.clientX, y: event.clientY};
  if (isWindowing) {
    const level = group.control('level');
    drag.unit = (Number(level.max) - Number(level.min)) / 1000;
    drag.level = Number(level.value);
    drag.width = Number(group.control('width').value);
  }
  viewer.stage.setPointerCapture(event.pointerId);
});

element.addEventListener('pointermove', (event) => {
  if (!drag) return;
  const right = event.clientX - drag.x, down = event.clientY - drag.y;
  if (drag.isWindowing) return group.setLevels(drag.level + down * drag.unit, drag.width + right * drag.unit);
  group.move(right, down, drag.viewer);
  drag.x = event.clientX;
  drag.y = event.clientY;
});

for (const end of ['pointerup', 'pointercancel']) element.addEventListener(end, () => { drag = null; });

element.addEventListener('contextmenu', (event) => {
  const viewer = viewerAt(event.target);
  if (viewer && viewer.isWindowed) event.preventDefault();
});

watch('value', () => requestAnimationFrame(start));
new MutationObserver(start).observe(element, {childList: true, subtree: true});
start();
