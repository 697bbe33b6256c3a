// Keys of the whole page, of the grid and of the large view; '?' lists them, from page.html.

// A field of a dialog that has just closed keeps the focus until the next frame.
const isTyping = (target) => !target.closest?.('dialog:not([open])') &&
  target.matches?.('input:not([type=checkbox]):not([type=range]), select, textarea');
const otherDialog = () => document.querySelector('dialog[open]:not(#large)') !== null;

function pressKey(event) {
  if (event.defaultPrevented || event.altKey || otherDialog() || isTyping(event.target)) return;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (pressed !== 'z' && pressed !== 'y') return;
    event.preventDefault();
    if (pressed === 'y' || event.shiftKey) redo(); else undo();
    return;
  }
  const isSlider = event.target.type === 'range' && /^(Arrow|Home|End|Page)/.test(event.key);
  if (isSlider || !(pressPageKey(pressed) || pressPhotoKey(pressed, event))) return;
  event.preventDefault();
}

function pressPageKey(pressed) {
  if (pressed === '?') $('help').showModal();
  else if (pressed === 'u') undo(!isLarge());
  else if (isLarge()) return false;
  else if (pressed === '/') search();
  else if (pressed === 'b' && !$('photos').hidden) toggleBulk();
  else return false;
  return true;
}

function pressPhotoKey(pressed, event) {
  if ($('photos').hidden || current < 0) return false;
  if (isLarge()) return pressLargeKey(pressed, event);
  return pressGridKey(pressed, event);
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

/** The label of the current photo that a key decides, or undefined. */
function entryOfKey(pressed, event) {
  const labels = labelsOf(currentImage);
  if (pressed === 'x' || pressed === 'c') return pickedOf(labels);
  if (/^\d$/.test(pressed)) return labels[(Number(pressed) + 9) % 10];
  const digit = /^Digit(\d)$/.exec(event.code)?.[1];  // with Shift, whatever it types
  return labels[10 + (Number(digit) + 9) % 10];
}

const decides = (pressed, event) => pressed === 'x' || pressed === 'c' ||
  /^\d$/.test(pressed) || (event.shiftKey && /^Digit\d$/.test(event.code));

/** Does what a key does to the current photo; returns whether it is a key of photos. */
function pressGridKey(pressed, event) {
  const move = moves()[pressed];
  const onCard = event.target.closest?.('.card') === event.target;
  const opens = pressed === 'v' || (pressed === 'Enter' && onCard);
  const acts = decides(pressed, event) || pressed === 'd' || pressed === 'a' || opens;
  if (move === undefined && !acts) return false;
  if (pressed === 'Home' || pressed === 'End') {
    goTo(move);
  } else if (!inView(rowOf(current))) {
    goTo(firstInView());  // keys act on what is seen: this one only chooses it
  } else if (move !== undefined) {
    // At first the user has not chosen the current card: the first arrow goes to it.
    goTo(document.activeElement.closest('.card') ? move : current);
  } else if (opens) {
    openLarge();
  } else {
    act(pressed, event);
  }
  return true;
}

function pressLargeKey(pressed, event) {
  const move = {
    ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: shown.length - 1,
  }[pressed];
  if (move !== undefined) moveLarge(move);
  else if (pressed === 'v') $('large').close();
  else if (decides(pressed, event) || pressed === 'd' || pressed === 'a') act(pressed, event);
  else return false;
  return true;
}

/** Decides a label, adds one, or verifies the photo, as a key says. */
function act(pressed, event) {
  if (pressed === 'd') return verifyAndGoOn();
  if (pressed === 'a') return openAdd(currentImage);
  const entry = entryOfKey(pressed, event);
  if (entry === undefined) return;
  if (pressed !== 'c') return flip(entry);
  confirm(entry);
  if (isLarge()) moveLarge(current + 1);
  else goTo(current + 1);
}

function search() {
  $('filters').open = true;
  $('text').focus();
  $('text').select();
}
