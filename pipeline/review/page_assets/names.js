// The user's name, which goes with every answer into files: asked once.

/** The name; null where the user would rather not export or import after all. */
function askName() {
  if (people[ME]) return Promise.resolve(people[ME]);
  const dialog = $('name-dialog');
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => {
    const name = $('name').value.trim();
    if (dialog.returnValue !== 'ok' || !name) return resolve(null);
    renameMe(name);
    refresh();
    save();
    resolve(name);
  }, {once: true}));
}
