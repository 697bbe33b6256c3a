// The review page. Names of files and classes are data from outside: they reach the page through
// textContent and attributes only, never as markup.
(() => {
  'use strict';

  const CSV_HEAD = ['path', 'candidate', 'probability', 'decision', 'by'];
  const FORMAT = 'review-1';
  const GAP = 10;              // pixels between cards
  const NAME_TAIL = 10;        // characters of a file's name that are never cut: names end apart
  const LIST_ROWS = 8;         // a card with more candidates scrolls them
  const MAX_HEIGHT = 1.6e7;    // Firefox cuts elements off at 17.9 million pixels
  const MAPS_HELD = 16;        // files of maps in memory
  const HEAT_SIDE = 112;       // pixels of a class map once enlarged
  const SETTLE_MS = 80;        // after a fast scroll, before thumbnails are asked for
  const SAVE_MS = 250;
  const BETWEEN_FILES_MS = 1000;  // Safari keeps one of two downloads that start together
  const LONG_PRESS_MS = 500;
  const TYPING_MS = 150;

  const $ = (id) => document.getElementById(id);

  if (typeof reviewData === 'undefined') {
    warn('review-data.js is missing beside this page, or is incomplete. Copy the whole folder.');
    return;
  }

  // ---------------------------------------------------------------- data

  const data = reviewData;
  const {classes, paths} = data;
  const starts = new Uint32Array(bytes(data.starts).buffer);
  const columns = new Uint16Array(bytes(data.columns).buffer);
  const probability = new Uint16Array(bytes(data.probability).buffer);  // in `steps`
  const script = bytes(data.kept);                                      // 1 kept, 0 dropped
  const steps = data.probabilitySteps;
  const images = paths.length;
  const entries = columns.length;
  const mapSize = data.mapSide * data.mapSide;

  const kept = script.slice();
  const agreed = new Uint8Array(entries);  // 1 where an earlier decision is the script's by now
  const seen = new Uint8Array(images);
  const counts = {
    seen: 0, changed: 0,
    kept: new Int32Array(classes.length),
    total: new Int32Array(classes.length),
    changedBy: new Int32Array(classes.length),
  };
  for (let entry = 0; entry < entries; entry++) {
    counts.total[columns[entry]]++;
    counts.kept[columns[entry]] += kept[entry];
  }

  function bytes(text) {
    const characters = atob(text);
    const result = new Uint8Array(characters.length);
    for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
    return result;
  }

  /** The image of a candidate: the last one that starts at or before it and is not empty. */
  function imageOf(entry) {
    let low = 0;
    let high = images;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= entry) low = middle; else high = middle;
    }
    return low;
  }

  /** Candidates of an image as its card shows them: least probable first. */
  function candidates(image) {
    const list = [];
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) list.push(entry);
    return list.sort((a, b) => probability[a] - probability[b] || a - b);
  }

  const decimal = (entry) => (probability[entry] / steps).toFixed(2);
  const exact = (entry) => String(probability[entry] / steps);
  const grouped = (number) => number.toLocaleString('en');
  const plural = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? '' : 's'}`;

  // ---------------------------------------------------------------- words to the user

  function warn(text) {
    $('warning').textContent = text;
    $('warning').hidden = false;
  }

  function say(text) {
    $('status').textContent = text;
    $('status').classList.remove('fresh');
    void $('status').offsetWidth;  // starts the animation again
    $('status').classList.add('fresh');
  }

  const fileName = (image) => paths[image].slice(paths[image].lastIndexOf('/') + 1);

  /** Names are isolated, so that marks of direction in one cannot turn the words around it. */
  const isolate = (name) => `\u2068${name}\u2069`;

  // ---------------------------------------------------------------- decisions

  // A change names what it toggles: {flips: [entry], marks: [image], image, words}. It is its own
  // inverse, so undoing and redoing are one step.
  const undone = [];
  const done = [];

  function toggle(change) {
    for (const entry of change.flips) {
      kept[entry] ^= 1;
      const sign = kept[entry] ? 1 : -1;
      const away = kept[entry] === script[entry] ? -1 : 1;
      counts.kept[columns[entry]] += sign;
      counts.changedBy[columns[entry]] += away;
      counts.changed += away;
    }
    for (const image of change.marks) {
      seen[image] ^= 1;
      counts.seen += seen[image] ? 1 : -1;
    }
  }

  function act(change) {
    toggle(change);
    done.push(change);
    undone.length = 0;
    changed();
    say(change.words);
  }

  function step(from, to, word, focus) {
    const change = from.pop();
    if (!change) return;
    toggle(change);
    to.push(change);
    if (change.image >= 0 && positions[change.image] >= 0) goTo(positions[change.image], focus);
    changed();
    say(`${word}: ${change.words}`);
  }

  const undo = (focus = true) => step(done, undone, 'Undone', focus);
  const redo = (focus = true) => step(undone, done, 'Done again', focus);

  function flip(entry) {
    const image = imageOf(entry);
    const word = kept[entry] ? 'dropped' : 'kept';
    act({
      flips: [entry], marks: seen[image] ? [] : [image], image,
      words: `${isolate(classes[columns[entry]])} ${word} in ${isolate(fileName(image))}`,
    });
  }

  function mark(image) {
    const words = seen[image] ? 'is to be looked at' : 'looked at';
    act({flips: [], marks: [image], image, words: `${isolate(fileName(image))} ${words}`});
  }

  function changed() {
    refresh();
    clearTimeout(saveTimer);
    saveTimer = setTimeout(save, SAVE_MS);
  }

  function refresh() {
    showProgress();
    for (const card of live.values()) fillCard(card);
    if (!$('overview').hidden) showClasses();
  }

  function showProgress() {
    $('seen-bar').max = Math.max(images, 1);
    $('seen-bar').value = counts.seen;
    $('progress-text').textContent = `${grouped(counts.seen)} of ${plural(images, 'photo')} ` +
      `looked at · ${plural(counts.changed, 'decision')} changed`;
    $('undo').disabled = !done.length;
    $('redo').disabled = !undone.length;
  }

  // ---------------------------------------------------------------- storage

  // Decisions are stored as such, not as differences from the script's: the key is the same for
  // any threshold. (The format without a number in its key held differences.)
  const storageKey = `review-2:${data.key}`;
  let storedText = null;  // and what it says: all that this page knows of the storage
  let stored = {kept: script.slice(), seen: new Uint8Array(images)};
  let saveTimer = 0;

  /** Indices that fulfil `test`, each as its distance from the one before: short to write. */
  function distances(length, test) {
    const list = [];
    let last = 0;
    for (let i = 0; i < length; i++) {
      if (test(i)) {
        list.push(i - last);
        last = i;
      }
    }
    return list;
  }

  function indices(list, length) {
    let last = 0;
    return list.map((distance) => last += distance)
      .filter((index) => Number.isInteger(index) && index >= 0 && index < length);
  }

  function save() {
    clearTimeout(saveTimer);
    saveTimer = 0;
    restore();
    const mine = (entry) => kept[entry] !== script[entry] || agreed[entry];
    const text = JSON.stringify({
      images, entries,
      kept: distances(entries, (entry) => mine(entry) && kept[entry]),
      dropped: distances(entries, (entry) => mine(entry) && !kept[entry]),
      seen: distances(images, (image) => seen[image]),
    });
    try {
      localStorage.setItem(storageKey, text);
      storedText = text;
      stored = {kept: kept.slice(), seen: seen.slice()};
    } catch (error) {
      warn('This browser does not store decisions here ' +
        `(${error.name}): export them before you close the page.`);
    }
  }

  /** Takes over what an earlier visit or another tab has stored, and leaves the rest as it is. */
  function restore() {
    let found;
    try {
      const text = localStorage.getItem(storageKey);
      if (text === storedText) return;
      storedText = text;
      found = JSON.parse(text);
    } catch (error) {
      warn(`Stored decisions could not be read (${error.name}).`);
      return;
    }
    if (!found) return;
    if (found.images !== images || found.entries !== entries ||
        ![found.kept, found.dropped, found.seen].every(Array.isArray)) {
      warn('Stored decisions belong to other labels, and are not shown.');
      return;
    }
    const before = stored;
    stored = {kept: script.slice(), seen: new Uint8Array(images)};
    for (const [list, decision] of [[found.kept, 1], [found.dropped, 0]]) {
      for (const entry of indices(list, entries)) {
        stored.kept[entry] = decision;
        if (script[entry] === decision) agreed[entry] = 1;
      }
    }
    for (const image of indices(found.seen, images)) stored.seen[image] = 1;
    const news = (name, now) => differing(before[name], stored[name])
      .filter((index) => now[index] !== stored[name][index]);
    const change = {flips: news('kept', kept), marks: news('seen', seen)};
    toggle(change);
    leaveToOthers(change);
    refresh();
  }

  /** What another tab has changed can no longer be undone here. */
  function leaveToOthers(change) {
    const [flips, marks] = [new Set(change.flips), new Set(change.marks)];
    for (const list of [done, undone]) {
      const left = list.map((own) => ({
        ...own,
        flips: own.flips.filter((entry) => !flips.has(entry)),
        marks: own.marks.filter((image) => !marks.has(image)),
      })).filter((own) => own.flips.length || own.marks.length);
      list.splice(0, list.length, ...left);
    }
  }

  function differing(one, other) {
    const list = [];
    for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) list.push(i);
    return list;
  }

  function flush() {
    if (saveTimer) save();
  }

  // ---------------------------------------------------------------- files out and in

  /**
   * A cell of CSV. Spreadsheets run a cell that starts like a formula: an apostrophe stops it,
   * and quotes keep a name in one cell where semicolons separate.
   */
  function cell(text) {
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  }

  const csvLine = (cells) => `${cells.map(cell).join(',')}\r\n`;

  /** A file's text, a part an image: as a whole it may be longer than a string can be. */
  function textByImage(head, line, tail = '') {
    const parts = [head];
    for (let image = 0; image < images; image++) {
      let part = '';
      for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
        part += line(image, entry);
      }
      parts.push(part);
    }
    parts.push(tail);
    return parts;
  }

  const csv = () => textByImage(csvLine(CSV_HEAD), (image, entry) => csvLine([
    paths[image], classes[columns[entry]], exact(entry), kept[entry] ? 'kept' : 'dropped',
    kept[entry] === script[entry] ? 'script' : 'you',
  ]));

  function json() {
    const looked = JSON.stringify(differing(seen, new Uint8Array(images)));
    return textByImage(
      `{"format": "${FORMAT}", "key": ${JSON.stringify(data.key)}, "seen": ${looked}, ` +
        '"decisions": [\n',
      (image, entry) => (entry ? ',\n' : '') +
        JSON.stringify([paths[image], classes[columns[entry]], kept[entry] === 1]),
      '\n]}\n');
  }

  function download(name, blob) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /** First the file that this page reads again: a browser may ask before it saves a second one. */
  async function exportFiles() {
    try {
      download('review.json', new Blob(json(), {type: 'application/json'}));
      const table = new Blob(csv(), {type: 'text/csv;charset=utf-8'});  // of the same moment
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_FILES_MS));
      download('review.csv', table);
      say('Saved review.json and review.csv among your downloads');
    } catch (error) {
      warn(`The export failed (${error.name}: ${error.message}).`);
    }
  }

  async function importFile(file) {
    $('warning').hidden = true;  // one about an earlier file; storage warns again as it fails
    try {
      const review = JSON.parse(await file.text());
      const flips = readDecisions(review);
      const looked = new Set(review.seen === undefined ? flips.map(imageOf) : readSeen(review));
      const marks = [...looked].filter((image) => !seen[image]);
      act({flips, marks, image: -1, words: `${plural(flips.length, 'decision')} imported`});
    } catch (error) {
      warn(`${file.name} was not imported: ` +
        (error instanceof SyntaxError ? 'it is not JSON.' : error.message));
    }
  }

  /** The candidates that a review.json decides otherwise; throws what is wrong with it. */
  function readDecisions(review) {
    if (review?.format !== FORMAT || !Array.isArray(review.decisions)) {
      throw new Error(`it is not a review.json of the format ${FORMAT}.`);
    }
    if (review.key !== data.key) {
      throw new Error(`it belongs to another review: its key is ${review.key}, ` +
        `this page's is ${data.key}.`);
    }
    if (review.decisions.length !== entries) {
      throw new Error(`expected ${plural(entries, 'decision')}, ` +
        `but it has ${grouped(review.decisions.length)}.`);
    }
    const flips = [];
    for (let image = 0; image < images; image++) {
      for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
        const [path, name, decision] = review.decisions[entry] ?? [];
        if (path !== paths[image] || name !== classes[columns[entry]] ||
            typeof decision !== 'boolean') {
          throw new Error(`decision ${grouped(entry + 1)} is not one of ` +
            `${isolate(classes[columns[entry]])} in ${isolate(paths[image])}.`);
        }
        if (decision !== (kept[entry] === 1)) flips.push(entry);
      }
    }
    return flips;
  }

  function readSeen({seen: list}) {
    const fits = (image) => Number.isInteger(image) && image >= 0 && image < images;
    if (!Array.isArray(list) || !list.every(fits)) {
      throw new Error(`expected photos looked at as a list of numbers from 0 to ${images - 1}.`);
    }
    return list;
  }

  // ---------------------------------------------------------------- order and filters

  const positions = new Int32Array(images);  // an image's place among those shown, or -1
  let shown = new Uint32Array(0);            // images in the order of the grid
  const orders = new Map();
  let lowerPaths = null;

  /** Images by a whole, non-negative number each, ties as in the label file. */
  function orderBy(number) {
    // A sort of plain numbers is many times faster than one with a function to compare them.
    const keys = new Float64Array(images);
    for (let image = 0; image < images; image++) keys[image] = number(image) * images + image;
    return Uint32Array.from(keys.sort(), (key) => key % images);
  }

  /** The least of `number` over an image's candidates; `steps` where it has none. */
  function least(image, number) {
    let result = steps;
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      result = Math.min(result, number(probability[entry]));
    }
    return result;
  }

  const ORDERS = {
    suspicious: () => orderBy((image) => least(image, (p) => p)),
    trusted: () => orderBy((image) => steps - least(image, (p) => p)),
    border: () => {
      const threshold = Math.round(data.threshold * steps);
      return orderBy((image) => least(image, (p) => Math.abs(p - threshold)));
    },
    name: () => Uint32Array.from({length: images}, (_, image) => image)
      .sort((a, b) => paths[a] < paths[b] ? -1 : paths[a] > paths[b] ? 1 : a - b),
    file: () => Uint32Array.from({length: images}, (_, image) => image),
  };

  function ordered(name) {
    if (!orders.has(name)) orders.set(name, ORDERS[name]());
    return orders.get(name);
  }

  function bound(id, otherwise) {
    const value = $(id).valueAsNumber;
    return Number.isNaN(value) ? otherwise : Math.round(value * steps);
  }

  function readFilters() {
    const text = $('text').value.trim().toLowerCase();
    return {
      text,
      classMatches: classes.map((name) => name.toLowerCase().includes(text)),
      column: $('class').value === '' ? -1 : Number($('class').value),
      decision: $('decision').value,
      low: bound('low', 0),
      high: bound('high', steps),
      unseen: $('unseen').checked,
    };
  }

  function fits(entry, filters) {
    if (filters.column >= 0 && columns[entry] !== filters.column) return false;
    if (probability[entry] < filters.low || probability[entry] > filters.high) return false;
    switch (filters.decision) {
      case 'kept': return kept[entry] === 1;
      case 'dropped': return kept[entry] === 0;
      case 'changed': return kept[entry] !== script[entry];
      default: return true;
    }
  }

  /** Whether one candidate fits all filters at once; the text may also be in the image's name. */
  function passes(image, filters, anyCandidate) {
    if (filters.unseen && seen[image]) return false;
    const named = !filters.text || lowerPaths[image].includes(filters.text);
    if (named && anyCandidate) return true;  // also an image without candidates
    for (let entry = starts[image]; entry < starts[image + 1]; entry++) {
      if ((named || filters.classMatches[columns[entry]]) && fits(entry, filters)) return true;
    }
    return false;
  }

  function applyFilters() {
    const filters = readFilters();
    if (filters.text && !lowerPaths) lowerPaths = paths.map((path) => path.toLowerCase());
    const anyCandidate = filters.column < 0 && filters.decision === 'any' &&
      filters.low <= 0 && filters.high >= steps;
    const order = ordered($('sort').value);
    shown = order.filter((image) => passes(image, filters, anyCandidate));
    positions.fill(-1);
    shown.forEach((image, position) => { positions[image] = position; });

    const active = Number(filters.text !== '') + Number(filters.column >= 0) +
      Number(filters.decision !== 'any') + Number(filters.low > 0 || filters.high < steps) +
      Number(filters.unseen);
    $('filters-active').textContent = active ? `(${active} active)` : '';
    $('count').textContent = shown.length === images ? plural(images, 'photo')
      : `${grouped(shown.length)} of ${plural(images, 'photo')}`;
    $('empty').hidden = shown.length > 0;
    current = shown.length ? Math.max(0, positions[currentImage] ?? 0) : -1;
    currentImage = current < 0 ? -1 : shown[current];
    lastTop = 0;
    stale = $('photos').hidden;  // what is hidden has no size to measure
    if (stale) return;
    measure();
    scroller.scrollTop = 0;
    if (current > 0) reveal(current);
    draw();
  }

  let filterTimer = 0;

  function filtersChangeSoon(milliseconds) {
    clearTimeout(filterTimer);
    filterTimer = setTimeout(filtersChanged, milliseconds);
  }

  function filtersChanged() {
    clearTimeout(filterTimer);
    currentImage = -1;  // another selection starts at its top
    applyFilters();
    say(`${plural(shown.length, 'photo')} shown`);
  }

  function filterByClass(column) {
    $('filter-form').reset();
    $('class').value = String(column);
    filtersChanged();
    showTab('photos');
    $('class').focus();
  }

  // ---------------------------------------------------------------- geometry

  const scroller = $('scroller');
  const grid = $('grid');
  const view = {
    columns: 1, cardWidth: 0, thumbHeight: 0, tops: new Float64Array(1), height: 0, screen: 0,
  };
  let stale = false;  // whether the cards shown are others than those measured

  /** Heights of a card's parts, in pixels; page.css sizes the parts by the same variables. */
  function measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const chip = Math.round(rem * (matchMedia('(pointer: coarse)').matches ? 2.25 : 1.75));
    const name = Math.round(rem * 2);
    const padding = Math.round(rem * 0.5);
    const width = scroller.clientWidth - 2 * GAP;
    const least = width < 36 * rem ? 9 * rem : 13 * rem;
    view.columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    view.cardWidth = Math.floor((width - GAP * (view.columns - 1)) / view.columns);
    view.thumbHeight = Math.round(view.cardWidth * 0.75);
    for (const [variable, value] of [['--chip', chip], ['--name', name],
      ['--card', view.cardWidth], ['--thumb', view.thumbHeight]]) {
      grid.style.setProperty(variable, `${value}px`);
    }

    const rows = Math.ceil(shown.length / view.columns);
    view.tops = new Float64Array(rows + 1);
    view.tops[0] = GAP;
    for (let row = 0; row < rows; row++) {
      let most = 0;
      const end = Math.min(shown.length, (row + 1) * view.columns);
      for (let position = row * view.columns; position < end; position++) {
        const image = shown[position];
        most = Math.max(most, starts[image + 1] - starts[image]);
      }
      view.tops[row + 1] = view.tops[row] + view.thumbHeight + name + padding +
        Math.min(most, LIST_ROWS) * chip + 2 + GAP;  // 2 for the border
    }
    view.height = Math.min(view.tops[rows], MAX_HEIGHT);
    view.screen = scroller.clientHeight;
    grid.style.height = `${view.height}px`;
    stale = false;
  }

  /** How much further the rows reach than the element that stands for them: 1 if all fits. */
  function stretch() {
    const screen = scroller.clientHeight;
    const total = view.tops[view.tops.length - 1];
    return total > view.height ? (total - screen) / (view.height - screen) : 1;
  }

  const scrolled = () => scroller.scrollTop * stretch();

  /** The last row that begins at or above `y`. */
  function rowAt(y) {
    let low = 0;
    let high = view.tops.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (view.tops[middle] <= y) low = middle; else high = middle;
    }
    return low;
  }

  const rowOf = (position) => Math.floor(position / view.columns);

  /** Whether half of a row shows, or it fills half of the screen. */
  function inView(row) {
    const top = scrolled();
    const [begin, end] = [view.tops[row], view.tops[row + 1]];
    const part = Math.min(end, top + view.screen) - Math.max(begin, top);
    return part >= Math.min(end - begin, view.screen) / 2;
  }

  /** Position of the first card in view; a row whose larger part is above is followed by one. */
  function firstInView() {
    const row = rowAt(scrolled());
    return (inView(row) ? row : Math.min(row + 1, view.tops.length - 2)) * view.columns;
  }

  function reveal(position) {
    const row = rowOf(position);
    const top = view.tops[row] - GAP;
    const bottom = view.tops[row + 1];
    const now = scrolled();
    if (top < now) scroller.scrollTop = Math.floor(top / stretch());
    else if (bottom > now + scroller.clientHeight) {
      scroller.scrollTop = Math.ceil(Math.min(top, bottom - scroller.clientHeight) / stretch());
    }
  }

  // ---------------------------------------------------------------- cards

  const live = new Map();  // image -> card in the grid
  const spare = [];
  let current = -1;        // position of the current card
  let currentImage = -1;
  let lastTop = 0;
  let settleTimer = 0;
  let frame = 0;

  function element(tag, className, parent) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (parent) parent.append(made);
    return made;
  }

  function button(className, parent) {
    const made = element('button', className, parent);
    made.type = 'button';
    return made;
  }

  function makeCard() {
    const root = element('div', 'card');
    root.setAttribute('role', 'listitem');
    const picture = element('div', 'picture', root);
    const photo = element('img', '', picture);
    photo.alt = '';
    photo.decoding = 'async';
    photo.draggable = false;
    const map = element('canvas', 'map', picture);
    map.setAttribute('aria-hidden', 'true');
    const doneButton = button('done', picture);
    doneButton.textContent = '✓';
    const name = element('bdi', 'name', root);
    const folder = element('span', 'folder', name);
    const file = element('span', 'file', name);
    const tail = element('span', 'tail', name);
    const list = element('div', 'chips', root);
    const card = {
      root, photo, map, doneButton, name, folder, file, tail, list,
      chips: [], image: -1, asked: false,
    };
    photo.addEventListener('load', () => {
      root.classList.add('ready');
      if (map.classList.contains('shown')) fitMap(card);  // it was fitted into the empty box
    });
    photo.addEventListener('error', () => root.classList.add('missing'));
    return card;
  }

  function makeChip(list) {
    const root = button('chip', list);
    const sign = element('span', 'sign', root);
    sign.setAttribute('aria-hidden', 'true');
    const name = element('bdi', 'label', root);
    const you = element('span', 'you', root);
    const chance = element('span', 'chance', root);
    const spoken = element('span', 'sr', root);
    return {root, sign, name, you, chance, spoken, entry: -1};
  }

  function setImage(card, image) {
    card.image = image;
    card.asked = false;
    card.root.dataset.image = image;
    card.root.classList.remove('ready', 'missing');
    card.photo.removeAttribute('src');
    const path = paths[image];
    const file = fileName(image);
    const tail = [...file].slice(-NAME_TAIL).join('');
    card.folder.textContent = path.slice(0, path.length - file.length);
    card.file.textContent = file.slice(0, file.length - tail.length);
    card.tail.textContent = tail;
    card.name.title = path;
    card.root.setAttribute('aria-label', path);
    card.list.scrollTop = 0;
    hideMap(card);
    fillCard(card);
  }

  function fillCard(card) {
    const list = candidates(card.image);
    while (card.chips.length < list.length) card.chips.push(makeChip(card.list));
    while (card.chips.length > list.length) card.chips.pop().root.remove();
    list.forEach((entry, index) => fillChip(card.chips[index], entry));
    const looked = seen[card.image] === 1;
    card.root.classList.toggle('seen', looked);
    card.doneButton.setAttribute('aria-pressed', looked);
    card.doneButton.title = looked ? 'Looked at' : 'Mark as looked at (d)';
    card.doneButton.setAttribute('aria-label', 'Looked at');
    setCurrent(card);
  }

  function fillChip(chip, entry) {
    const isKept = kept[entry] === 1;
    const mine = kept[entry] !== script[entry];
    const name = classes[columns[entry]];
    chip.entry = entry;
    chip.root.dataset.entry = entry;
    chip.root.setAttribute('aria-pressed', isKept);
    chip.root.classList.toggle('mine', mine);
    chip.root.title = `${isolate(name)}: probability ${exact(entry)}, ` +
      `${isKept ? 'kept' : 'dropped'} by ${mine ? 'you' : 'the script'}`;
    chip.root.style.setProperty('--p', probability[entry] / steps);
    chip.sign.textContent = isKept ? '✓' : '✕';
    chip.name.textContent = name;
    chip.you.textContent = mine ? 'you' : '';
    chip.chance.textContent = decimal(entry);
    chip.spoken.textContent = isKept ? ', kept' : ', dropped';
  }

  /** Only the current card and what is in it are stops of the Tab key. */
  function setCurrent(card) {
    const isCurrent = card.image === currentImage;
    const stop = isCurrent ? 0 : -1;
    card.root.classList.toggle('current', isCurrent);
    card.root.tabIndex = stop;
    card.doneButton.tabIndex = stop;
    for (const chip of card.chips) chip.root.tabIndex = stop;
  }

  function askForPhoto(card) {
    if (card.asked) return;
    card.asked = true;
    const folder = Math.floor(card.image / data.thumbnailsAFolder);
    card.photo.src = `thumbs/${folder}/${card.image}.jpg`;
  }

  function askForPhotos() {
    for (const card of live.values()) askForPhoto(card);
  }

  /** Puts cards into the rows in view and one more on either side, and takes the others out. */
  function draw() {
    frame = 0;
    if ($('photos').hidden) return;
    const top = scrolled();
    const first = Math.max(0, rowAt(top) - 1);
    const last = Math.min(view.tops.length - 2, rowAt(top + scroller.clientHeight) + 1);
    const begin = first * view.columns;
    const end = Math.min(shown.length, (last + 1) * view.columns);
    const held = document.activeElement?.closest?.('.card');

    for (const [image, card] of live) {
      const position = positions[image];
      if (position >= begin && position < end) continue;
      if (card.root === held && position >= 0) continue;  // else the focus would be lost
      live.delete(image);
      card.root.remove();
      spare.push(card);
    }

    const offset = scroller.scrollTop - top;  // 0 unless the rows are stretched
    let next = grid.firstChild;  // cards in the order of the grid, for readers and the Tab key
    if (next && next === held && outside(held, begin, end)) next = next.nextSibling;
    for (let position = begin; position < end; position++) {
      const image = shown[position];
      let card = live.get(image);
      if (!card) {
        card = spare.pop() ?? makeCard();
        live.set(image, card);
        setImage(card, image);
      }
      if (card.root === next) next = next.nextSibling;
      else grid.insertBefore(card.root, next);
    }
    for (const card of live.values()) place(card, offset);

    clearTimeout(settleTimer);
    if (Math.abs(top - lastTop) > scroller.clientHeight) {
      settleTimer = setTimeout(askForPhotos, SETTLE_MS);
    } else {
      askForPhotos();
    }
    lastTop = top;
  }

  function outside(root, begin, end) {
    const position = positions[Number(root.dataset.image)];
    return position < begin || position >= end;
  }

  function place(card, offset) {
    const position = positions[card.image];
    const row = rowOf(position);
    const x = GAP + (position % view.columns) * (view.cardWidth + GAP);
    const height = view.tops[row + 1] - view.tops[row] - GAP;
    card.root.style.height = `${height}px`;
    card.root.style.transform = `translate(${x}px, ${view.tops[row] + offset}px)`;
    card.root.setAttribute('aria-posinset', position + 1);
    card.root.setAttribute('aria-setsize', shown.length);
  }

  function drawSoon() {
    if (!frame) frame = requestAnimationFrame(draw);
  }

  /** Lays the grid out anew; the current card, or else the first in view, stays where it was. */
  function resized() {
    if ($('photos').hidden) return;
    const anchor = current < 0 || inView(rowOf(current)) ? current : firstInView();
    const above = scrolled() - view.tops[rowOf(anchor)];
    measure();
    if (anchor >= 0) {
      scroller.scrollTop = (view.tops[rowOf(anchor)] + above) / stretch();
      if (!inView(rowOf(anchor))) reveal(anchor);
    }
    draw();
  }

  function goTo(position, focus = true) {
    if (!shown.length) return;
    current = Math.min(Math.max(position, 0), shown.length - 1);
    currentImage = shown[current];
    if ($('photos').hidden) return;
    reveal(current);
    draw();
    for (const card of live.values()) setCurrent(card);
    if (focus) live.get(currentImage).root.focus({preventScroll: true});
  }

  const cardAt = (target) => live.get(Number(target.closest?.('.card')?.dataset.image ?? -1));

  // ---------------------------------------------------------------- class maps

  const maps = new Map();      // chunk -> promise of its bytes, or of null
  const arriving = new Map();  // chunk -> what fulfils the promise
  let pointed = -1;            // the candidate whose map is wanted

  // Files of maps call this; a page on disk cannot read files in another way.
  window.reviewMaps = (chunk, text) => arriving.get(chunk)?.(bytes(text));

  function loadMaps(chunk) {
    const held = maps.get(chunk) ?? new Promise((resolve) => {
      const tag = document.createElement('script');
      arriving.set(chunk, resolve);
      tag.onload = tag.onerror = () => {
        resolve(null);  // changes nothing where the file has called reviewMaps
        arriving.delete(chunk);
        tag.remove();
      };
      tag.src = `maps/${chunk}.js`;
      document.head.append(tag);
    });
    maps.delete(chunk);
    maps.set(chunk, held);  // now the youngest
    if (maps.size > MAPS_HELD) maps.delete(maps.keys().next().value);
    return held;
  }

  async function showMap(card, entry) {
    pointed = entry;
    const chunk = Math.floor(card.image / data.chunk);
    const from = (entry - starts[chunk * data.chunk]) * mapSize;
    const all = await loadMaps(chunk);
    if (!all || all.length < from + mapSize || pointed !== entry) return;
    const shownNow = card.chips.some((chip) => chip.entry === entry);
    if (!shownNow) return;  // the card has gone on to another photo
    paintMap(card.map, all.subarray(from, from + mapSize));
    fitMap(card);
    card.map.classList.add('shown');
  }

  function hideMap(card) {
    card.map.classList.remove('shown');
  }

  // Stops of matplotlib's turbo, at equal distances.
  const TURBO = [[48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153],
    [162, 252, 60], [237, 208, 58], [251, 128, 34], [210, 49, 5], [122, 4, 3]];
  const OPACITY = 0.65;  // of the strongest, as in predict.py's maps

  function paintMap(canvas, map) {
    const side = data.mapSide;
    canvas.width = canvas.height = HEAT_SIDE;
    const context = canvas.getContext('2d');
    const pixels = context.createImageData(HEAT_SIDE, HEAT_SIDE);
    const at = (position) => {  // left neighbour and weight of the right one
      const exactly = Math.min(Math.max((position + 0.5) * side / HEAT_SIDE - 0.5, 0), side - 1);
      const left = Math.min(Math.floor(exactly), side - 2);
      return [left, exactly - left];
    };
    for (let y = 0; y < HEAT_SIDE; y++) {
      const [row, down] = at(y);
      for (let x = 0; x < HEAT_SIDE; x++) {
        const [column, right] = at(x);
        const corner = row * side + column;
        const above = map[corner] * (1 - right) + map[corner + 1] * right;
        const below = map[corner + side] * (1 - right) + map[corner + side + 1] * right;
        const share = (above * (1 - down) + below * down) / 255;
        const stop = Math.min(Math.floor(share * 8), 7);
        const part = share * 8 - stop;
        const pixel = 4 * (y * HEAT_SIDE + x);
        for (let channel = 0; channel < 3; channel++) {
          pixels.data[pixel + channel] =
            TURBO[stop][channel] * (1 - part) + TURBO[stop + 1][channel] * part;
        }
        pixels.data[pixel + 3] = 255 * OPACITY * share;
      }
    }
    context.putImageData(pixels, 0, 0);
  }

  /** A map covers the photo, which is fitted into its box. */
  function fitMap(card) {
    const {naturalWidth, naturalHeight} = card.photo;
    const boxWidth = card.photo.clientWidth;
    const boxHeight = card.photo.clientHeight;
    const scale = naturalWidth ? Math.min(boxWidth / naturalWidth, boxHeight / naturalHeight) : 0;
    const width = scale ? naturalWidth * scale : boxWidth;
    const height = scale ? naturalHeight * scale : boxHeight;
    Object.assign(card.map.style, {
      width: `${width}px`, height: `${height}px`,
      left: `${(boxWidth - width) / 2}px`, top: `${(boxHeight - height) / 2}px`,
    });
  }

  function pointAt(event) {
    const chip = event.target.closest?.('.chip');
    const card = chip && cardAt(chip);
    if (card) showMap(card, Number(chip.dataset.entry));
  }

  function pointAway(event) {
    const chip = event.target.closest?.('.chip');
    if (!chip || chip.contains(event.relatedTarget)) return;
    pointed = -1;
    const card = cardAt(chip);
    if (card) hideMap(card);
  }

  // ---------------------------------------------------------------- classes

  const CLASS_ORDERS = {
    share: (a, b) => share(b) - share(a) || counts.total[b] - counts.total[a] || a - b,
    count: (a, b) => counts.total[b] - counts.total[a] || a - b,
    name: (a, b) => classes[a].localeCompare(classes[b]) || a - b,
    file: (a, b) => a - b,
  };
  const share = (column) => counts.total[column]
    ? 1 - counts.kept[column] / counts.total[column] : -1;
  const classRows = [];

  function makeClassRow(column) {
    const row = document.createElement('tr');
    const head = element('th', '', row);
    head.scope = 'row';
    const link = button('link', head);
    element('bdi', '', link).textContent = classes[column];
    link.addEventListener('click', () => filterByClass(column));
    const bar = element('div', 'bar-of-class', element('td', 'bars', row));
    const keptBar = element('div', 'kept', bar);
    const droppedBar = element('div', 'dropped', bar);
    const cells = ['kept', 'dropped', 'changed'].map((name) => element('td', `n ${name}`, row));
    return {row, keptBar, droppedBar, cells};
  }

  function showClasses() {
    if (!classRows.length) classes.forEach((_, column) => classRows.push(makeClassRow(column)));
    const most = counts.total.reduce((a, b) => Math.max(a, b), 1);
    classRows.forEach(({keptBar, droppedBar, cells}, column) => {
      const dropped = counts.total[column] - counts.kept[column];
      keptBar.style.width = `${100 * counts.kept[column] / most}%`;
      droppedBar.style.width = `${100 * dropped / most}%`;
      [counts.kept[column], dropped, counts.changedBy[column]].forEach((number, index) => {
        cells[index].textContent = grouped(number);
      });
    });
  }

  /** Only when asked: rows that move while decisions are made are hard to follow. */
  function sortClasses() {
    const order = classes.map((_, column) => column).sort(CLASS_ORDERS[$('class-sort').value]);
    $('class-rows').append(...order.map((column) => classRows[column].row));
  }

  // ---------------------------------------------------------------- epochs

  const SVG = 'http://www.w3.org/2000/svg';

  function svg(tag, attributes, parent) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (parent) parent.append(made);
    return made;
  }

  function showHistory() {
    for (const [key, label] of [['confidence', 'Confidence'], ['mAP', 'mAP']]) {
      const points = data.history
        .map((line, index) => [line.epoch ?? index + 1, line[key]])
        .filter(([, value]) => typeof value === 'number');
      if (points.length) $('charts').append(lineChart(label, points));
    }
    $('history').hidden = !$('charts').childElementCount;
  }

  function lineChart(label, points) {
    const values = points.map(([, value]) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const [first, last] = [points[0], points[points.length - 1]];
    const x = (epoch) => 44 + 260 * (last[0] > first[0]
      ? (epoch - first[0]) / (last[0] - first[0]) : 0.5);
    const y = (value) => 100 - 84 * (high > low ? (value - low) / (high - low) : 0.5);
    const short = (value) => String(Number(value.toPrecision(3)));
    const figure = element('figure');
    element('figcaption', '', figure).textContent = label;
    const chart = svg('svg', {
      viewBox: '0 0 320 124', role: 'img',
      'aria-label': `${label} from ${short(first[1])} at epoch ${first[0]} ` +
        `to ${short(last[1])} at epoch ${last[0]}`,
    }, figure);
    for (const value of high > low ? [low, high] : [low]) {
      svg('line', {x1: 44, x2: 304, y1: y(value), y2: y(value), class: 'rule'}, chart);
      svg('text', {x: 38, y: y(value) + 4, class: 'end'}, chart).textContent = short(value);
    }
    svg('polyline', {
      points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(' '), class: 'line',
    }, chart);
    svg('circle', {cx: x(last[0]), cy: y(last[1]), r: 3.5, class: 'dot'}, chart);
    svg('text', {x: 44, y: 120}, chart).textContent = `epoch ${first[0]}`;
    if (last[0] > first[0]) svg('text', {x: 304, y: 120, class: 'end'}, chart).textContent = last[0];
    return figure;
  }

  // ---------------------------------------------------------------- correlation

  const heat = {canvas: $('heat'), label: 0, cell: 0, strongest: 1, row: 0, column: 0};
  const LABEL_PIXELS = 11;  // of a line of labels beside the heat map
  const LABEL_WIDTH = 96;
  const PAIRS = 10;

  function startHeat() {
    const table = data.correlation;
    if (!table) return;
    $('correlation').hidden = false;
    const symmetric = table.every((line, row) => line.every((value, column) =>
      row === column || value === null || table[column][row] === value));
    const pairs = strongestPairs(table, symmetric);
    heat.strongest = Math.abs(pairs[0]?.[2] ?? 0) || 1;
    for (const [row, column, value] of pairs) {
      const item = element('li', '', $('pairs'));
      element('bdi', '', item).textContent = classes[row];
      item.append(symmetric ? ' – ' : ' → ');
      element('bdi', '', item).textContent = classes[column];
      element('span', 'chance', item).textContent = value.toFixed(3);
    }
    heat.canvas.setAttribute('aria-label',
      `Correlation: ${grouped(classes.length)} rows and columns, one of each a class. ` +
      'Arrow keys go from cell to cell.');
  }

  /** [row, column, value] of the PAIRS largest magnitudes, the largest first. */
  function strongestPairs(table, symmetric) {
    const pairs = [];
    table.forEach((line, row) => line.forEach((value, column) => {
      if (value === null || row === column || (symmetric && row > column)) return;
      const size = Math.abs(value);
      if (pairs.length === PAIRS && size <= Math.abs(pairs[PAIRS - 1][2])) return;
      const place = pairs.findIndex((pair) => Math.abs(pair[2]) < size);
      pairs.splice(place < 0 ? pairs.length : place, 0, [row, column, value]);
      if (pairs.length > PAIRS) pairs.pop();
    }));
    return pairs;
  }

  function drawHeat() {
    const table = data.correlation;
    if (!table || $('overview').hidden) return;
    const ratio = window.devicePixelRatio || 1;
    const room = heat.canvas.parentElement.clientWidth;
    heat.label = Math.min(LABEL_WIDTH, room / 3);
    heat.cell = Math.min((room - heat.label) / table.length, 34);
    const side = heat.label + heat.cell * table.length;
    heat.canvas.width = heat.canvas.height = Math.ceil(side * ratio);
    heat.canvas.style.width = heat.canvas.style.height = `${side}px`;
    const context = heat.canvas.getContext('2d');
    context.scale(ratio, ratio);
    const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
    drawCells(context, table, colour, ratio);
    drawLabels(context, table, colour('--muted'));
    placeMarker();
  }

  /** The cells as one image, a pixel each, which the browser enlarges. */
  function drawCells(context, table, colour, ratio) {
    const cells = document.createElement('canvas');
    cells.width = cells.height = table.length;
    const pixels = cells.getContext('2d').createImageData(table.length, table.length);
    const [positive, negative] = ['--accent', '--dropped'].map((name) => rgb(colour(name)));
    table.forEach((line, row) => line.forEach((value, column) => {
      if (row === column || value === null) return;
      const pixel = 4 * (row * table.length + column);
      pixels.data.set(value < 0 ? negative : positive, pixel);
      pixels.data[pixel + 3] = 255 * Math.min(Math.abs(value) / heat.strongest, 1);
    }));
    cells.getContext('2d').putImageData(pixels, 0, 0);
    const {label, cell} = heat;
    const side = cell * table.length;
    context.fillStyle = colour('--picture');
    context.fillRect(label, label, side, side);
    context.imageSmoothingEnabled = cell * ratio < 1;
    context.drawImage(cells, label, label, side, side);
    if (cell <= 6) return;
    context.fillStyle = colour('--surface');
    for (let line = 1; line <= table.length; line++) {  // gaps
      context.fillRect(label + line * cell - 1, label, 1, side);
      context.fillRect(label, label + line * cell - 1, side, 1);
    }
  }

  /** Red, green and blue of '#rrggbb', as page.css writes colours. */
  const rgb = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));

  function placeMarker() {
    Object.assign($('heat-marker').style, {
      width: `${heat.cell}px`, height: `${heat.cell}px`,
      left: `${heat.label + heat.column * heat.cell}px`,
      top: `${heat.label + heat.row * heat.cell}px`,
    });
  }

  /** Every label where they fit, else every second, third ... */
  function drawLabels(context, table, colour) {
    const every = Math.ceil(LABEL_PIXELS / heat.cell);
    context.fillStyle = colour;
    context.font = '11px system-ui, sans-serif';
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    context.direction = 'ltr';
    for (let column = 0; column < table.length; column += every) {
      const middle = heat.label + (column + 0.5) * heat.cell;
      const text = shorten(context, classes[column], heat.label - 8);
      context.fillText(text, heat.label - 6, middle);
      context.save();
      context.translate(middle, heat.label - 6);
      context.rotate(-Math.PI / 2);
      context.textAlign = 'left';
      context.fillText(text, 0, 0);
      context.restore();
    }
  }

  function shorten(context, name, width) {
    if (context.measureText(name).width <= width) return name;
    const characters = [...name];  // code points: half an emoji is no character
    while (characters.length && context.measureText(`${characters.join('')}…`).width > width) {
      characters.pop();
    }
    return `${characters.join('')}…`;
  }

  function goToCell(row, column) {
    const last = data.correlation.length - 1;
    heat.row = Math.min(Math.max(row, 0), last);
    heat.column = Math.min(Math.max(column, 0), last);
    const value = data.correlation[heat.row][heat.column];
    $('heat-cell').textContent = `${isolate(classes[heat.row])} and ` +
      `${isolate(classes[heat.column])}: ${value === null ? 'none' : value.toFixed(3)}`;
    placeMarker();
  }

  function pointAtCell(event) {
    const column = Math.floor((event.offsetX - heat.label) / heat.cell);
    const row = Math.floor((event.offsetY - heat.label) / heat.cell);
    const inside = row >= 0 && column >= 0 && row < classes.length && column < classes.length;
    if (inside && (row !== heat.row || column !== heat.column)) goToCell(row, column);
  }

  const ARROWS = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
  };

  function heatKey(event) {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    goToCell(heat.row + arrow[0], heat.column + arrow[1]);
  }

  // ---------------------------------------------------------------- tabs and keys

  function showTab(name) {
    for (const [tab, panel] of [['photos', 'photos'], ['classes', 'overview']]) {
      $(panel).hidden = tab !== name;
      $(`tab-${tab}`).setAttribute('aria-selected', tab === name);
      $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    }
    if (name === 'classes') {
      showClasses();
      sortClasses();
      drawHeat();
    } else {
      if (stale) measure();
      scroller.scrollTop = lastTop / stretch();  // hidden elements forget it
      resized();
    }
  }

  function tabKey(event) {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    event.preventDefault();
    const other = $('photos').hidden ? 'photos' : 'classes';
    showTab(other);
    $(`tab-${other}`).focus();
  }

  function moves() {
    const page = Math.max(1, Math.floor(scroller.clientHeight /
      ((view.tops[view.tops.length - 1] - GAP) / Math.max(1, view.tops.length - 1))));
    return {
      ArrowLeft: current - 1, ArrowRight: current + 1,
      ArrowUp: current < view.columns ? current : current - view.columns,
      ArrowDown: Math.min(current + view.columns, shown.length - 1),
      Home: 0, End: shown.length - 1,
      PageUp: current - page * view.columns, PageDown: current + page * view.columns,
    };
  }

  const isTyping = (target) => target.matches?.('input:not([type=checkbox]), select, textarea');

  function key(event) {
    if (event.defaultPrevented || event.altKey || $('help').open || isTyping(event.target)) return;
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (pressed !== 'z' && pressed !== 'y') return;
      event.preventDefault();
      if (pressed === 'y' || event.shiftKey) redo(); else undo();
      return;
    }
    if (pressed === '?') $('help').showModal();
    else if (pressed === '/') search();
    else if (pressed === 'u') undo();
    else if ($('photos').hidden || !gridKey(pressed)) return;
    event.preventDefault();
  }

  function gridKey(pressed) {
    const move = moves()[pressed];
    const decides = pressed >= '1' && pressed <= '9';
    if (current < 0 || (move === undefined && !decides && pressed !== 'd')) return false;
    if (pressed === 'Home' || pressed === 'End') {
      goTo(move);
    } else if (!inView(rowOf(current))) {
      goTo(firstInView());  // keys act on what is seen: this one only chooses it
    } else if (move !== undefined) {
      // At first the current card is none the user has chosen: the first arrow goes to it.
      goTo(document.activeElement.closest('.card') ? move : current);
    } else if (decides) {
      const entry = candidates(currentImage)[Number(pressed) - 1];
      if (entry !== undefined) flip(entry);
    } else {
      if (!seen[currentImage]) mark(currentImage);
      goTo(current + 1);
    }
    return true;
  }

  function search() {
    $('filters').open = true;
    $('text').focus();
    $('text').select();
  }

  let byPointer = false;     // what came last, a pointer or a key
  let touchedAt = Infinity;  // when a finger came down; never, if that was a mouse

  function clickGrid(event) {
    const card = cardAt(event.target);
    if (!card) return;
    const pressed = event.target.closest('button');
    goTo(positions[card.image], !pressed);
    if (pressed?.classList.contains('chip')) {
      // A finger held on it wants to see the map. A key's click has no detail.
      const held = event.detail > 0 && event.timeStamp - touchedAt > LONG_PRESS_MS;
      if (!held) flip(Number(pressed.dataset.entry));
    } else if (pressed) {
      mark(card.image);
    }
  }

  function focusGrid(event) {
    const card = cardAt(event.target);
    // A pointer's click follows and goes there. Scrolled before it, it would hit something else.
    if (card && card.image !== currentImage && !byPointer) goTo(positions[card.image], false);
    pointAt(event);
  }

  // ---------------------------------------------------------------- start

  function showSummary() {
    for (const [name, value] of data.summary) {
      const line = element('div', '', $('summary'));
      element('dt', '', line).textContent = name;
      element('dd', '', line).textContent = value;
    }
    document.querySelector('.about').hidden = !data.summary.length;
    classes.forEach((name, column) => {
      const option = element('option', '', $('class'));
      option.value = column;
      option.textContent = `${name} (${grouped(counts.total[column])})`;
    });
  }

  function listen() {
    const on = (id, type, call) => $(id).addEventListener(type, call);
    on('undo', 'click', () => undo(false));  // the button keeps the focus, to be pressed again
    on('redo', 'click', () => redo(false));
    on('export', 'click', exportFiles);
    on('import', 'click', () => $('import-file').click());
    on('import-file', 'change', async () => {
      if ($('import-file').files.length) await importFile($('import-file').files[0]);
      $('import-file').value = '';  // the same file may be chosen again
    });
    on('keys', 'click', () => $('help').showModal());
    on('help-close', 'click', () => $('help').close());
    on('filter-form', 'submit', (event) => event.preventDefault());
    on('filter-form', 'change', (event) => {
      if (event.target !== $('text')) filtersChanged();
    });
    on('filter-form', 'reset', () => filtersChangeSoon(0));  // once the fields are reset
    on('empty-reset', 'click', () => $('filter-form').reset());
    on('text', 'input', () => filtersChangeSoon(TYPING_MS));
    on('text', 'keydown', (event) => {
      if (event.key === 'Enter' && current >= 0) goTo(current);
    });
    on('grid', 'click', clickGrid);
    on('grid', 'pointerdown', (event) => {
      byPointer = true;
      touchedAt = event.pointerType === 'touch' ? event.timeStamp : Infinity;
    });
    on('grid', 'focusin', focusGrid);
    on('grid', 'focusout', pointAway);
    on('grid', 'pointerover', pointAt);
    on('grid', 'pointerout', pointAway);
    on('tab-photos', 'click', () => showTab('photos'));
    on('tab-classes', 'click', () => showTab('classes'));
    document.querySelector('[role=tablist]').addEventListener('keydown', tabKey);
    on('class-sort', 'change', sortClasses);
    on('heat', 'pointermove', pointAtCell);
    on('heat', 'keydown', heatKey);
    scroller.addEventListener('scroll', drawSoon, {passive: true});
    new ResizeObserver(() => requestAnimationFrame(resized)).observe(scroller);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawHeat);
    window.addEventListener('resize', drawHeat);
    document.addEventListener('keydown', () => { byPointer = false; }, true);
    document.addEventListener('keydown', key);
    window.addEventListener('pagehide', flush);
    document.addEventListener('visibilitychange', flush);
    window.addEventListener('storage', (event) => {  // another tab has decided
      if (event.key === storageKey && event.newValue) restore();
    });
  }

  $('filters').open = matchMedia('(min-width: 56rem)').matches;
  restore();
  showSummary();
  showProgress();
  showHistory();
  startHeat();
  listen();
  applyFilters();
})();
