// Elements of the page, messages to the user, numbers and names as text.
//
// Names of files and classes come from outside: they reach the page through textContent and
// attributes only, never as markup.

const $ = (id) => document.getElementById(id);

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

/** Shows a warning that stays. */
function warn(text) {
  $('warning').textContent = text;
  $('warning').hidden = false;
}

/** Shows a notice for some seconds; screen readers read it out. */
function announce(text) {
  placeStatus();
  $('status').textContent = text;
  $('status').classList.remove('fresh');
  void $('status').offsetWidth;  // starts the animation again
  $('status').classList.add('fresh');
}

/** Beside an open dialog nothing is seen or read out. */
function placeStatus() {
  const place = $('large').open ? $('large') : document.body;
  if ($('status').parentElement !== place) place.append($('status'));
}

const grouped = (number) => number.toLocaleString('en');
const plural = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? '' : 's'}`;

/** Isolates a name, so that its marks of direction cannot turn the words around it. */
const isolate = (name) => `\u2068${name}\u2069`;
