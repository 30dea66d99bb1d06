// Going from page to page without loading: those who go, and the one who takes them there, meet here.

let goer = (href) => location.assign(href);
let asker = () => {};

/** Says who changes the page, and who asks everything on it again. */
export function setNavigation(goTo, again) {
  goer = goTo;
  asker = again;
}

/** Goes to an address of ours. @param {string} href */
export function go(href) {
  goer(href);
}

/** Asks what the page shows once more, as it does by itself after a while. */
export function askAgain() {
  asker();
}
