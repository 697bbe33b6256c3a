// The user's name, which goes with every answer into files: asked before the first, and shown
// beside Export, where it can be changed.

function showName() {
  $('me-name').textContent = people[ME] || 'Your name';
}

/** The name; null where the user would rather not export or import after all. */
function askName() {
  return people[ME] ? Promise.resolve(people[ME]) : changeName();
}

/** Asks for a name, which may be another person's or a better one of the same person. */
function changeName() {
  const dialog = $('name-dialog');
  const before = people[ME];
  dialog.returnValue = '';
  $('name').value = before;
  $('name-same').checked = false;
  $('name-same').parentElement.hidden = !before;
  $('name-before').textContent = before;
  dialog.showModal();
  $('name').select();
  return new Promise((resolve) => dialog.addEventListener('close', () => {
    const name = $('name').value.trim();
    if (dialog.returnValue !== 'ok' || !name) return resolve(null);
    if (name !== before) {
      if (before && !$('name-same').checked) giveWayTo(name); else renameMe(name);
      refresh();
      save();
    }
    resolve(name);
  }, {once: true}));
}
