// The large view: one photo with its class maps, its labels and those that may be missing.

const SHAPE_TOLERANCE = 0.03;  // a thumbnail's sides are whole pixels

let large = null;  // its card, made when it is first opened

const isLarge = () => $('large').open;

function openLarge() {
  if (current < 0) return;
  if (!large) {
    large = makeCard();
    large.root.setAttribute('role', 'group');
    $('large-card').append(large.root);
    const offers = element('div', 'offers', large.root);
    element('h3', '', offers).textContent = 'Likeliest others';
    large.offers = element('div', 'offer-list', offers);
  }
  if (!isLarge()) $('large').showModal();
  refreshLarge();
  large.root.focus({preventScroll: true});
}

/** Shows the photo itself in place of its thumbnail where it lies where it was: same shape at least. */
async function loadWhole(image) {
  const address = photoAddress(image);
  if (!address) return;
  const whole = new Image();
  whole.src = address;
  try {
    await Promise.all([whole.decode(), large.photo.decode()]);
  } catch {
    return;  // it is gone, or of a kind that browsers do not show
  }
  const shape = ({naturalWidth, naturalHeight}) => naturalWidth / naturalHeight;
  const isAlike = Math.abs(shape(whole) / shape(large.photo) - 1) < SHAPE_TOLERANCE;
  if (large.image === image && isAlike) large.photo.src = address;
}

function refreshLarge() {
  if (!large || !isLarge()) return;
  if (large.image !== currentImage) setImage(large, currentImage);
  if (!large.asked) {
    loadPhoto(large);
    loadWhole(currentImage);
  }
  fillCard(large);
  showOffers();
  $('large-place').textContent = `${grouped(current + 1)} of ${grouped(shown.length)}`;
  $('large-before').disabled = current <= 0;
  $('large-next').disabled = current >= shown.length - 1;
  const verified = isVerified(currentImage);
  $('large-verify').textContent = verified ? 'Verified ✓' : 'Verify and go on';
  $('large-reasons').textContent = reasonsOf(currentImage).join(' ');
}

/** What a person may wonder about a photo's labels. */
function reasonsOf(image) {
  const list = entriesOf(image);
  const names = (some) => some.map((entry) => isolate(classes[columnOf(entry)])).join(', ');
  const best = list.filter(isKeptAsBest);
  const open = list.filter((entry) => disputed.has(entry));
  return [
    ...(best.length ? [`${names(best)} is kept below the threshold: a photo's most probable ` +
      'label is never dropped.'] : []),
    ...open.map((entry) => `${names([entry])} is in dispute: ${disputeText(entry)}. ` +
      'Decide it, and it is settled.'),
    ...(keptIn[image] ? [] : ['No label is left.']),
  ];
}

/** Labels that the photo may lack, the likeliest first, to be added by a click. */
function showOffers() {
  const columnsHere = likelyIn(currentImage)
    .filter((column) => !large.chips.some((chip) => columnOf(chip.entry) === column));
  large.offers.parentElement.hidden = !columnsHere.length;
  large.offers.replaceChildren(...columnsHere.map((column) => offerButton(currentImage, column)));
}

const likelyIn = (image) =>
  [...likely.subarray(image * likelyCount, (image + 1) * likelyCount)]
    .filter((column) => column !== NO_CLASS);

function offerButton(image, column) {
  const root = button('offer');
  root.dataset.column = column;
  root.append('+ ');
  element('bdi', '', root).textContent = classes[column];
  element('span', 'chance', root).textContent =
    (chanceOfColumn(image, column) / probabilitySteps).toFixed(2);
  return root;
}

function chanceOfColumn(image, column) {
  const place = likelyIn(image).indexOf(column);
  return place < 0 ? 0 : likelyProbability[image * likelyCount + place];
}

function clickLarge(event) {
  const pressed = event.target.closest('button');
  if (event.target === $('large')) $('large').close();  // outside of what it holds
  if (!pressed || !large.root.contains(pressed)) return;
  if (pressed.classList.contains('offer')) addLabel(currentImage, Number(pressed.dataset.column));
  else clickCard(event, large, pressed);
}

/** The browser gives the focus back to where it was: it belongs to the photo last seen. */
function largeClosed() {
  placeStatus();
  const isDone = inTask() && taskLeft() === 0;
  goTo(positions[large.image], !isDone);
  if (isDone) $('task-export').focus();
}

function moveLarge(position) {
  if (position < 0 || position >= shown.length) return;
  goTo(position, false);
  refreshLarge();
}
