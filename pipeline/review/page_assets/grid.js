// The grid: only cards near the view exist, so that any number of photos scrolls alike.

const SETTLE_MS = 80;  // after a fast scroll, before thumbnails are loaded

const live = new Map();  // image -> card in the grid
const spare = [];        // cards out of the grid, to be used again
let lastTop = 0;
let settleTimer = 0;
let frame = 0;

const cardAt = (target) => live.get(Number(target.closest?.('.card')?.dataset.image ?? -1));

/** Puts cards into the rows in view and one more on either side, and takes the others out. */
function draw() {
  frame = 0;
  if ($('photos').hidden) return;
  const top = scrolled();
  const first = Math.max(0, rowAt(top) - 1);
  const last = Math.min(view.tops.length - 2, rowAt(top + scroller.clientHeight) + 1);
  const begin = first * view.columns;
  const end = Math.min(shown.length, (last + 1) * view.columns);
  const focused = document.activeElement?.closest?.('.card');

  removeCards(begin, end, focused);
  const offset = scroller.scrollTop - top;  // 0 unless the rows are stretched
  insertCards(begin, end, focused);
  for (const card of live.values()) place(card, offset);

  clearTimeout(settleTimer);
  if (Math.abs(top - lastTop) > scroller.clientHeight) {
    settleTimer = setTimeout(loadPhotos, SETTLE_MS);
  } else {
    loadPhotos();
  }
  lastTop = top;
}

function loadPhotos() {
  for (const card of live.values()) loadPhoto(card);
}

/** Takes out cards outside `begin` to `end`, except one with the focus: the focus would be lost. */
function removeCards(begin, end, focused) {
  for (const [image, card] of live) {
    const position = positions[image];
    if (position >= begin && position < end) continue;
    if (card.root === focused && position >= 0) continue;
    live.delete(image);
    card.root.remove();
    spare.push(card);
  }
}

/** Adds what is missing; cards are in the order of the grid, for readers and the Tab key. */
function insertCards(begin, end, focused) {
  let next = grid.firstChild;
  if (next && next === focused && outside(focused, begin, end)) next = next.nextSibling;
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

/** Shows the photos that pass the filters, from the top. */
function applyFilters() {
  selectPhotos();
  lastTop = 0;
  view.stale = $('photos').hidden;  // what is hidden has no size to measure
  if (view.stale) return;
  measure();
  scroller.scrollTop = 0;
  draw();
  for (const card of live.values()) fillCard(card);  // the class looked at comes first
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

/** Scrolls back to where the grid was before it was hidden. */
function returnToGrid() {
  if (view.stale) measure();
  scroller.scrollTop = lastTop / stretch();  // hidden elements forget it
  resized();
}

/** Makes the photo at a position the current one, and shows it. */
function goTo(position, focus = true) {
  if (!shown.length) return;
  setCurrent(Math.min(Math.max(position, 0), shown.length - 1));
  if ($('photos').hidden) return;
  reveal(current);
  draw();
  for (const card of live.values()) showCurrent(card);
  if (focus) live.get(currentImage).root.focus({preventScroll: true});
}
