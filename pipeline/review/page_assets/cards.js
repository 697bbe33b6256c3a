// Cards: a photo, its name and its labels. The large view is a card too.

const NAME_TAIL = 10;  // characters of a file's name that are never cut: names differ at the end

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
  const blank = element('span', 'badge blank', picture);
  blank.textContent = 'seen nowhere in particular';
  blank.hidden = true;
  const bare = element('span', 'badge bare', picture);
  bare.textContent = 'no label left';
  const verifyButton = button('done', picture);
  verifyButton.textContent = '✓';
  const name = element('bdi', 'name', root);
  const folder = element('span', 'folder', name);
  const file = element('span', 'file', name);
  const tail = element('span', 'tail', name);
  const list = element('div', 'chips', root);
  const addButton = button('add', list);
  addButton.textContent = '+ Add a label';
  const card = {
    root, photo, map, blank, bare, verifyButton, name, folder, file, tail, list, addButton,
    chips: [], image: -1, asked: false,
  };
  photo.addEventListener('load', () => {
    root.classList.add('ready');
    if (map.classList.contains('shown')) fitMap(card);  // it was fitted into the empty box
  });
  photo.addEventListener('error', () => root.classList.add('missing'));
  return card;
}

/** Lets a card show another image. */
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

/** Shows the decisions of a card's image as they are now. */
function fillCard(card) {
  const labels = labelsOf(card.image);
  while (card.chips.length < labels.length) card.chips.push(makeChip(card.list));
  while (card.chips.length > labels.length) card.chips.pop().root.remove();
  if (card.list.lastChild !== card.addButton) card.list.append(card.addButton);
  const picked = pickedOf(labels);
  labels.forEach((entry, place) =>
    fillChip(card.chips[place], entry, entry === picked ? 'x' : keyOfPlace(place)));
  const verified = isVerified(card.image);
  card.bare.hidden = keptIn[card.image] > 0;
  card.root.classList.toggle('seen', verified);
  card.verifyButton.setAttribute('aria-pressed', verified);
  card.verifyButton.title = verified
    ? `Verified by ${photoVoices(card.image).map((voice) => nameOf(voice.by)).join(', ')}`
    : 'Verify: all labels are right as they are (d)';
  card.verifyButton.setAttribute('aria-label', 'Verified');
  showCurrent(card);
}

/** Only the current card and what is in it are stops of the Tab key. */
function showCurrent(card) {
  const isCurrent = card.image === currentImage;
  const stop = isCurrent ? 0 : -1;
  card.root.classList.toggle('current', isCurrent);
  card.root.tabIndex = stop;
  card.list.tabIndex = -1;  // browsers stop at what scrolls, unless told
  card.verifyButton.tabIndex = stop;
  card.addButton.tabIndex = stop;
  for (const chip of card.chips) chip.root.tabIndex = stop;
}

function loadPhoto(card) {
  if (card.asked) return;
  card.asked = true;
  const folder = Math.floor(card.image / data.thumbnailsAFolder);
  card.photo.src = `thumbs/${folder}/${card.image}.jpg`;
}
