"""Music and speech made by calculation, for test clips and benchmarks.

Pure tones flatter an encoder: they need few bits and hide errors. What is made here has what real
recordings have: chords, a melody with vibrato, attacks, decays, drums, noise, silence, two channels
that differ, and a voice (by espeak-ng). It depends on the seed alone.
"""

import subprocess
import tempfile
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np

PROGRESSIONS = (
    ((0, "M"), (9, "m"), (5, "M"), (7, "M")),
    ((9, "m"), (5, "M"), (0, "M"), (7, "M")),
    ((2, "m"), (7, "M"), (0, "M"), (9, "m")),
    ((0, "M"), (4, "m"), (5, "M"), (5, "m")),
    ((9, "m"), (2, "m"), (4, "m"), (9, "m")),
)
TRIADS = {"M": (0, 4, 7), "m": (0, 3, 7)}
PENTATONIC = (0, 2, 4, 7, 9)

SENTENCES = (
    "The ferry leaves at seven, and the harbour is quiet before it does.",
    "She put the kettle on, opened the window, and listened to the rain on the tin roof.",
    "Six thousand four hundred and eleven people crossed that bridge last Thursday.",
    "If the sound is right, nobody will ask how it was made.",
    "A good map leaves things out; the art lies in choosing which.",
    "Fresh snow squeaks under shoes when the air is cold enough.",
    "He whistled the second verse because he had forgotten the words.",
    "Please hold the door, I have both hands full of strawberries.",
)
VOICES = ("en-gb", "en-us", "en-gb-scotland", "en-us+f3", "en-gb+f2", "en-us+m3")


def hertz(semitone):
    """The frequency of a note counted in semitones from A4 (440 Hz)."""
    return 440.0 * 2.0 ** (semitone / 12.0)


@lru_cache(maxsize=4096)
def tone(semitone, length, rate, kind):
    """One note as a mono array of `length` PCM samples."""
    t = np.arange(length, dtype=np.float32) / rate
    frequency = hertz(semitone)
    # (harmonics, how fast they fall, vibrato in Hz of deviation per Hz, attack s, decay 1/s)
    harmonics, fall, vibrato, attack, decay = {
        "pad": (7, 1.3, 0.003, 0.25, 0.0),
        "lead": (9, 1.1, 0.006, 0.012, 2.2),
        "pluck": (12, 0.9, 0.0, 0.002, 5.0),
        "bass": (6, 1.2, 0.0, 0.006, 1.6),
    }[kind]
    phase = 2 * np.pi * frequency * t
    if vibrato:
        phase += (vibrato * frequency / 5.3) * (1 - np.cos(2 * np.pi * 5.3 * t)) * np.minimum(1, t * 4)
    out = np.zeros(length, dtype=np.float32)
    for k in range(1, harmonics + 1):
        if frequency * k > 0.45 * rate:
            break
        # High harmonics die first, as on a string.
        out += np.sin(k * phase) * np.exp(-decay * t * (0.6 + 0.4 * k)) / k**fall
    release = min(length, int(0.03 * rate))
    envelope = np.minimum(1.0, t / attack)
    envelope[length - release :] *= np.linspace(1, 0, release, dtype=np.float32)
    return (out * envelope).astype(np.float32)


@lru_cache(maxsize=64)
def drum(kind, rate, take):
    """One stroke of a drum; `take` chooses one of several noises."""
    rng = np.random.default_rng(take * 7 + len(kind))
    length = int({"kick": 0.3, "snare": 0.22, "hat": 0.07, "crash": 1.4}[kind] * rate)
    t = np.arange(length, dtype=np.float32) / rate
    noise = rng.standard_normal(length).astype(np.float32)
    if kind == "kick":
        return np.sin(2 * np.pi * (48 * t + 9 * (1 - np.exp(-t * 28)))) * np.exp(-t * 11)
    if kind == "snare":
        return (0.5 * noise + 0.5 * np.sin(2 * np.pi * 186 * t)) * np.exp(-t * 19)
    bright = np.diff(noise, prepend=0.0)
    return 0.5 * bright * np.exp(-t * (70 if kind == "hat" else 3.5))


def music(seconds, rate, seed):
    """A piece of `seconds` in stereo: float32, shape (PCM samples, 2), peaks below 1."""
    rng = np.random.default_rng(seed)
    total = int(round(seconds * rate))
    mix = np.zeros((total, 2), dtype=np.float32)
    beat = int(rate * 60 / rng.uniform(78, 132))
    key = int(rng.integers(-5, 7))
    progression = PROGRESSIONS[seed % len(PROGRESSIONS)]
    lead = ("lead", "pluck")[int(rng.integers(2))]
    echo = int(0.75 * beat)

    def put(sound, at, gain, pan):
        end = min(total, at + len(sound))
        if at < end:
            left, right = gain * np.cos(pan * np.pi / 2), gain * np.sin(pan * np.pi / 2)
            part = sound[: end - at]
            mix[at:end, 0] += left * part
            mix[at:end, 1] += right * part

    step = 2
    for bar in range(total // (4 * beat) + 1):
        start = bar * 4 * beat
        root, quality = progression[bar % len(progression)]
        for i, interval in enumerate(TRIADS[quality]):
            put(tone(key + root - 12 + interval, 4 * beat, rate, "pad"), start, 0.11, 0.15 + 0.35 * i)
        for half in range(8):
            at = start + half * beat // 2
            put(drum("hat", rate, half % 4), at, 0.30 if half % 2 else 0.17, 0.7)
            if half in (0, 3, 4):
                put(tone(key + root - 36, beat, rate, "bass"), at, 0.30, 0.5)
            if rng.random() < 0.72:
                step = int(np.clip(step + rng.integers(-2, 3), -3, 8))
                note = key + PENTATONIC[step % 5] + 12 * (step // 5)
                sound = tone(note, int(beat * rng.choice((0.5, 1.0, 1.5))), rate, lead)
                put(sound, at, 0.26, 0.72)
                put(sound, at + echo, 0.09, 0.12)
        if bar % 8 == 0:
            put(drum("crash", rate, bar % 3), start, 0.20, 0.35)
        # Every fourth bar rests, so that quiet passages come too.
        if bar % 4 != 3:
            for beat_number in range(4):
                at = start + beat_number * beat
                put(drum("kick" if beat_number % 2 == 0 else "snare", rate, bar % 5), at, 0.5, 0.48)
    return np.tanh(mix).astype(np.float32) * np.float32(0.9)


def speech(seconds, rate, seed):
    """A voice reading for `seconds`: float32, shape (PCM samples, 1). Needs espeak-ng and sox."""
    rng = np.random.default_rng(seed)
    total = int(round(seconds * rate))
    parts, have = [], 0
    while have < total:
        order = rng.permutation(len(SENTENCES))
        text = " ".join(SENTENCES[i] for i in order)
        voice = VOICES[int(rng.integers(len(VOICES)))]
        with tempfile.TemporaryDirectory() as folder:
            raw, even = Path(folder, "raw.wav"), Path(folder, "even.wav")
            subprocess.run(["espeak-ng", "-v", voice, "-s", str(rng.integers(140, 185)), "-w", raw, text],
                           check=True)
            subprocess.run(["sox", "-R", "-G", raw, "-r", str(rate), even], check=True)
            part = read_wave(even)
        parts.append(part)
        have += len(part)
    voice = np.concatenate(parts)[:total]
    return voice * np.float32(0.8 / max(0.05, float(np.abs(voice).max())))


def read_wave(path):
    """A 16-bit WAV file as float32, shape (PCM samples, channels)."""
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return data.reshape(-1, file.getnchannels()).astype(np.float32) / 32768


def write_wave(path, pcm, rate):
    """Writes float32 of shape (PCM samples, channels) as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(pcm, -1, 1) * 32767).round().astype("<i2").tobytes())
