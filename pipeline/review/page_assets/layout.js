// Layout of the grid: sizes and places of cards, and what of them is in view.

const GAP = 10;            // pixels between cards
const LIST_ROWS = 8;       // a card with more candidates scrolls them
const MAX_HEIGHT = 1.6e7;  // Firefox cuts elements off at 17.9 million pixels

const scroller = $('scroller');
const grid = $('grid');
const view = {
  columns: 1, cardWidth: 0, thumbHeight: 0, tops: new Float64Array(1), height: 0, screen: 0,
  stale: false,  // whether the photos shown are others than those measured
};

/** Measures the cards' parts, in pixels, and the rows; page.css sizes the parts by variables. */
function measure() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const chip = Math.round(rem * (matchMedia('(pointer: coarse)').matches ? 2.25 : 1.75));
  const name = Math.round(rem * 2);
  const padding = Math.round(rem * 0.5);
  const width = scroller.clientWidth - 2 * GAP;
  const narrowest = width < 36 * rem ? 9 * rem : 13 * rem;
  view.columns = Math.max(1, Math.floor((width + GAP) / (narrowest + GAP)));
  view.cardWidth = Math.floor((width - GAP * (view.columns - 1)) / view.columns);
  view.thumbHeight = Math.round(view.cardWidth * 0.75);
  for (const [variable, value] of [['--chip', chip], ['--name', name],
    ['--card', view.cardWidth], ['--thumb', view.thumbHeight]]) {
    grid.style.setProperty(variable, `${value}px`);
  }
  measureRows(view.thumbHeight + name + padding, chip);
  view.height = Math.min(view.tops[view.tops.length - 1], MAX_HEIGHT);
  view.screen = scroller.clientHeight;
  grid.style.height = `${view.height}px`;
  view.stale = false;
}

/** Lines of a card's list: its labels, and the button that adds one. */
function labelCount(image) {
  const own = starts[image + 1] - starts[image] + 1;
  if (active.decision === 'missing') return own + missingIn(image, active).length;
  return addedOf.size ? own + (addedOf.get(image)?.filter(shownAsLabel).length ?? 0) : own;
}

/** Where each row begins: a row is as high as its card with the most candidates. */
function measureRows(cardHeight, chip) {
  const rows = Math.ceil(shown.length / view.columns);
  view.tops = new Float64Array(rows + 1);
  view.tops[0] = GAP;
  for (let row = 0; row < rows; row++) {
    let most = 0;
    const end = Math.min(shown.length, (row + 1) * view.columns);
    for (let position = row * view.columns; position < end; position++) {
      const image = shown[position];
      most = Math.max(most, labelCount(image));
    }
    view.tops[row + 1] = view.tops[row] + cardHeight +
      Math.min(most, LIST_ROWS) * chip + 2 + GAP;  // 2 for the border
  }
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

/** Scrolls as little as shows the whole row of a card. */
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
