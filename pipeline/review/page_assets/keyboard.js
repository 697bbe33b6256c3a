// Keys of the whole page and of the grid; the list that '?' shows is in page.html.

const isTyping = (target) => target.matches?.('input:not([type=checkbox]), select, textarea');

function pressKey(event) {
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
  else if ($('photos').hidden || !pressGridKey(pressed)) return;
  event.preventDefault();
}

/** Positions to which keys move from the current one. */
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

/** Does what a key does in the grid; returns whether it is a key of the grid. */
function pressGridKey(pressed) {
  const move = moves()[pressed];
  const decides = pressed >= '1' && pressed <= '9';
  if (current < 0 || (move === undefined && !decides && pressed !== 'd')) return false;
  if (pressed === 'Home' || pressed === 'End') {
    goTo(move);
  } else if (!inView(rowOf(current))) {
    goTo(firstInView());  // keys act on what is seen: this one only chooses it
  } else if (move !== undefined) {
    // At first the user has not chosen the current card: the first arrow goes to it.
    goTo(document.activeElement.closest('.card') ? move : current);
  } else if (decides) {
    const entry = candidatesOf(currentImage)[Number(pressed) - 1];
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
