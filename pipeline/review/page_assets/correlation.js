// Correlation of classes: a heat map with a marked cell, and the strongest pairs.

const LABEL_PIXELS = 11;  // of a line of labels beside the heat map
const LABEL_WIDTH = 96;
const PAIRS = 10;
const ARROWS = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
};

const heat = {canvas: $('heat'), label: 0, cell: 0, strongest: 1, row: 0, column: 0};

function showCorrelation() {
  const table = data.correlation;
  if (!table) return;
  $('correlation').hidden = false;
  const symmetric = table.every((line, row) => line.every((value, column) =>
    row === column || value === null || table[column][row] === value));
  const pairs = strongestPairs(table, symmetric);
  heat.strongest = Math.abs(pairs[0]?.[2] ?? 0) || 1;
  for (const [row, column, value] of pairs) {
    const item = element('li', '', $('pairs'));
    const name = (place) => {
      const cut = element('bdi', '', item);
      cut.textContent = cut.title = classes[place];
    };
    name(row);
    item.append(symmetric ? ' – ' : ' → ');
    name(column);
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

/** A name cut at its end, so that it is at most `width` pixels wide. */
function shorten(context, name, width) {
  if (context.measureText(name).width <= width) return name;
  const characters = [...name];  // code points: half an emoji is no character
  while (characters.length && context.measureText(`${characters.join('')}…`).width > width) {
    characters.pop();
  }
  return `${characters.join('')}…`;
}

function placeMarker() {
  Object.assign($('heat-marker').style, {
    width: `${heat.cell}px`, height: `${heat.cell}px`,
    left: `${heat.label + heat.column * heat.cell}px`,
    top: `${heat.label + heat.row * heat.cell}px`,
  });
}

/** Marks a cell and says its classes and value. */
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

function pressHeatKey(event) {
  const arrow = ARROWS[event.key];
  if (!arrow) return;
  event.preventDefault();
  goToCell(heat.row + arrow[0], heat.column + arrow[1]);
}
