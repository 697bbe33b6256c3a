// Labels that a photo lacks: any class, by typing, or one of the likeliest by a click.

function openAdd(image) {
  if (!$('add-classes').childElementCount) {
    $('add-classes').append(...classes.map((name) => {
      const option = element('option');
      option.value = name;
      return option;
    }));
  }
  $('add-dialog').dataset.image = image;
  $('add-photo').textContent = fileName(image);
  $('add-text').value = '';
  $('add-error').textContent = '';
  const known = new Set(entriesOf(image).filter((entry) => state.kept[entry]).map(columnOf));
  const offers = likelyIn(image).filter((column) => !known.has(column));
  $('add-offers').replaceChildren(...offers.map((column) => offerButton(image, column)));
  $('add-dialog').showModal();
  $('add-text').focus();
}

/** The class that a typed text means: of that name, or the only one alike or that begins so; or -1. */
function typedClass(text) {
  const same = classes.indexOf(text.trim());
  if (same >= 0) return same;
  const typed = text.trim().toLowerCase();
  const alike = classes.filter((name) => name.toLowerCase() === typed);
  if (alike.length || !typed) return alike.length === 1 ? classes.indexOf(alike[0]) : -1;
  const begins = classes.flatMap((name, column) =>
    name.toLowerCase().startsWith(typed) ? [column] : []);
  return begins.length === 1 ? begins[0] : -1;
}

function submitAdd(event) {
  event.preventDefault();
  const column = typedClass($('add-text').value);
  if (column < 0) {
    $('add-error').textContent = 'No class, or more than one, begins with this.';
    return;
  }
  closeAdd(column);
}

function closeAdd(column) {
  const image = Number($('add-dialog').dataset.image);
  $('add-dialog').close();
  addLabel(image, column);
}

/** Gives a photo a label, which may be a candidate that was dropped. */
function addLabel(image, column) {
  const entry = makeEntry(image, column);
  makeRoom(entry);
  if (state.kept[entry]) announce(`${isolate(classes[column])} is among its labels`);
  else flip(entry);
  resized();  // the card has one chip more
}
