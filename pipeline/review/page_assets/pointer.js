// Pointer and focus on cards: what a click decides, and whose class map shows.

const LONG_PRESS_MS = 500;

let byPointer = false;     // what came last, a pointer or a key
let touchedAt = Infinity;  // when a finger came down; never, if that was a mouse

function pointerDown(event) {
  byPointer = true;
  touchedAt = event.pointerType === 'touch' ? event.timeStamp : Infinity;
}

function keyDown() {
  byPointer = false;
}

function clickGrid(event) {
  const card = cardAt(event.target);
  if (!card) return;
  const pressed = event.target.closest('button');
  goTo(positions[card.image], !pressed);
  if (pressed) clickCard(event, card, pressed);
  else if (event.target.closest('.picture')) openLarge();
}

/** Does what a button of a card does. */
function clickCard(event, card, pressed) {
  if (pressed.classList.contains('chip')) {
    // A finger held on it wants to see the map. A key's click has no detail.
    const held = event.detail > 0 && event.timeStamp - touchedAt > LONG_PRESS_MS;
    if (!held) flip(Number(pressed.dataset.entry));
  } else if (pressed === card.verifyButton) {
    verify(card.image);
  } else {
    openAdd(card.image);
  }
}

function focusGrid(event) {
  const card = cardAt(event.target);
  // A pointer's click follows and goes there. Scrolled before it, it would hit something else.
  if (card && card.image !== currentImage && !byPointer) goTo(positions[card.image], false);
  pointAt(event);
}

const cardOf = (target) => large?.root.contains(target) ? large : cardAt(target);

function pointAt(event) {
  const chip = event.target.closest?.('.chip');
  const card = chip && cardOf(chip);
  if (card) showMap(card, Number(chip.dataset.entry));
}

function pointAway(event) {
  const chip = event.target.closest?.('.chip');
  if (!chip || chip.contains(event.relatedTarget)) return;
  cancelMap();
  const card = cardOf(chip);
  if (card) hideMap(card);
}
