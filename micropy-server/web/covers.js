// Covers on rows. Each is read out of its MP3 when its row comes in sight, one after the other: most rows of a long list
// are never seen.

import { readCover } from "./id3.js";

/** A larger one is for the player alone. */
const LARGEST = 1024 * 1024;

const wanted = new WeakMap();
let last = Promise.resolve();

const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    last = last.then(() => load(...wanted.get(target)));
  }
});

/** Shows the cover of `mp3` in `image` once `row` is seen. */
export function showCover(row, image, mp3) {
  if (mp3.report.cover > LARGEST) return;
  wanted.set(row, [image, mp3]);
  observer.observe(row);
}

async function load(image, mp3) {
  if (!image.isConnected) return;
  // The row does without: opening the player tells what is wrong.
  const cover = await readCover(mp3.url, mp3.report.cover).catch(() => null);
  if (!cover) return;
  const url = URL.createObjectURL(cover);
  image.onload = () => {
    image.hidden = false;
    URL.revokeObjectURL(url);
  };
  image.onerror = () => URL.revokeObjectURL(url);
  image.src = url;
}
