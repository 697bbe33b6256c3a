// 'Verify these N': a task with an end, of photos that were chosen to be verified.

const taskImages = data.toVerify;

const inTask = () => active?.photos === 'toverify';
const taskLeft = () => taskImages.filter((image) => !isVerified(image)).length;

function startTask() {
  $('filter-form').reset();
  $('photos-filter').value = 'toverify';
  $('sort').value = 'file';
  showTab('photos');
  filtersChanged();
  goTo(Math.max(nextToVerify(-1), 0));
  openLarge();
}

/** The position of the next photo shown that is not verified, after one or from the start; -1. */
function nextToVerify(position) {
  const isOpen = (image) => !isVerified(image);
  const after = shown.subarray(position + 1).findIndex(isOpen);
  return after >= 0 ? position + 1 + after : shown.findIndex(isOpen);
}

function refreshTask() {
  $('task-button').hidden = !taskImages.length || inTask();
  $('task').hidden = !inTask();
  const left = taskLeft();
  $('task-button').textContent = left ? `Verify these ${grouped(taskImages.length)}` : 'All verified';
  if (!inTask()) return;
  const done = taskImages.length - left;
  $('task-bar').max = taskImages.length;
  $('task-bar').value = done;
  $('task-text').textContent = left
    ? `Verify these ${plural(taskImages.length, 'photo')}: ${grouped(done)} done, ${grouped(left)} to go`
    : `All ${plural(taskImages.length, 'photo')} are verified: export them now`;
  $('task-export').hidden = left > 0;
  $('task-go').hidden = left === 0;
}

/** Verifies the current photo and goes on: in a task to the next one that is open. */
function verifyAndGoOn() {
  if (!isVerified(currentImage)) verify(currentImage);
  if (!inTask()) {
    if (isLarge()) moveLarge(current + 1);
    else goTo(current + 1);
    return;
  }
  const next = nextToVerify(current);
  if (next < 0) {
    announce(`All ${plural(taskImages.length, 'photo')} are verified`);
    if (isLarge()) $('large').close();
    else $('task-export').focus();
  } else if (isLarge()) {
    moveLarge(next);
  } else {
    goTo(next);
  }
}

/** Leaves the task: all photos are shown again. */
function endTask() {
  $('filter-form').reset();
  filtersChangeSoon(0);
}
