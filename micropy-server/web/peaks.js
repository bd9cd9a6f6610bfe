// The outline of an MP3. The service has drawn it as it made the MP3. Where it has not, the MP3 is read and decoded
// here, in pieces and at a low rate, so that an hour takes no more memory than a minute.

import { call, request } from "./api.js";

export const COUNT = 320;
/** Enough for an outline, and the least that every browser takes. */
const RATE = 8000;
/** Bytes decoded at once. */
const PIECE = 384 * 1024;
/** Longer ones are not read for a picture alone. */
export const LARGEST = 200 * 1024 * 1024;

// ISO/IEC 11172-3, 2.4.2.3, and 13818-3 for the lower rates: layer III, kbit/s.
const BITRATES = [
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const RATES = [44100, 48000, 32000];

/** The frame whose header stands at `at`: its length in bytes and its duration in seconds. */
function frameAt(bytes, at) {
  if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe6) !== 0xe2) return null;
  const version = (bytes[at + 1] >> 3) & 3; // 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
  const kbps = BITRATES[version === 3 ? 0 : 1][bytes[at + 2] >> 4];
  let rate = RATES[(bytes[at + 2] >> 2) & 3];
  if (!kbps || !rate || version === 1) return null;
  rate /= { 3: 1, 2: 2, 0: 4 }[version];
  const samples = version === 3 ? 1152 : 576;
  const length = Math.floor(((samples / 8) * kbps * 1000) / rate) + ((bytes[at + 2] >> 1) & 1);
  return { length, seconds: samples / rate };
}

/** The outline that the service has at `url`, in the form of audiowaveform: the extremes of each point. */
export async function stored(url, signal) {
  const { length, bits, data } = await call("GET", url, undefined, { signal });
  const peaks = new Float32Array(COUNT);
  for (let at = 0; at < COUNT; at++) {
    // As many points as fall on it, and at least the one it lies in.
    const first = Math.floor((at * length) / COUNT);
    const end = Math.max(first + 1, Math.floor(((at + 1) * length) / COUNT));
    for (let i = 2 * first; i < 2 * end && i < data.length; i++) peaks[at] = Math.max(peaks[at], Math.abs(data[i]));
    peaks[at] /= 2 ** (bits - 1);
  }
  return peaks;
}

/** Reads the MP3 at `url`, `duration` seconds long; calls `drawn(peaks)` after every piece. */
export async function outline(url, duration, drawn, signal) {
  const peaks = new Float32Array(COUNT);
  const decoder = new OfflineAudioContext(1, 1, RATE);
  const answer = await request(url, { signal });
  const reader = answer.body.getReader();
  let bytes = new Uint8Array();
  let skip = -1;
  let time = 0;
  for (let more = true; more; ) {
    const parts = [bytes];
    for (let length = bytes.length; length < PIECE && more; ) {
      const { done, value } = await reader.read();
      more = !done;
      if (value) {
        parts.push(value);
        length += value.length;
      }
    }
    bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    if (skip < 0) {
      const isTag = bytes[0] === 0x49 && bytes[1] === 0x44 && bytes[2] === 0x33;
      skip = isTag ? 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]) : 0;
    }
    if (skip > 0) {
      const over = Math.min(skip, bytes.length);
      bytes = bytes.subarray(over);
      skip -= over;
      if (skip > 0) continue;
    }
    let end = 0;
    let seconds = 0;
    for (let frame = frameAt(bytes, 0); frame && end + frame.length <= bytes.length; frame = frameAt(bytes, end)) {
      end += frame.length;
      seconds += frame.seconds;
    }
    if (end === 0) break;
    const audio = await decoder.decodeAudioData(bytes.slice(0, end).buffer);
    for (let channel = 0; channel < audio.numberOfChannels; channel++) {
      const samples = audio.getChannelData(channel);
      for (let i = 0; i < samples.length; i++) {
        const at = Math.floor(((time + i / RATE) / duration) * COUNT);
        if (at < COUNT) peaks[at] = Math.max(peaks[at], Math.abs(samples[i]));
      }
    }
    time += seconds;
    bytes = bytes.subarray(end);
    drawn(peaks);
  }
  return peaks;
}
