//! Sound to encode: not music to a listener, but with everything that makes encoders work: decaying chords with
//! vibrato, noise bursts, voices, silence, hard cuts.

/// A small generator of repeatable random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number from `from` up to, but not including, `to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.next_u32() as usize % (to - from)
    }

    /// From −1 to 1.
    pub fn noise(&mut self) -> f32 {
        self.next_u32() as f32 / 2_147_483_648.0 - 1.0
    }

    pub fn uniform(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * (self.noise() * 0.5 + 0.5)
    }
}

/// `len` samples of `channels` planes at `rate` Hz, full scale ±1.
pub fn music(seed: u64, rate: u32, channels: usize, len: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let mut planes = vec![Vec::with_capacity(len); channels];
    while planes[0].len() < len {
        let scene_len = (random.uniform(0.1, 2.5) * rate as f32) as usize;
        let scene_len = scene_len.min(len - planes[0].len());
        let scene = match random.between(0, 8) {
            0 => vec![0.0; scene_len],
            1 | 2 => voice(&mut random, rate, scene_len),
            3 => drums(&mut random, rate, scene_len),
            _ => chord(&mut random, rate, scene_len),
        };
        let ambience = random.uniform(0.0001, 0.01);
        let pan = random.uniform(0.2, 0.8);
        for (channel, plane) in planes.iter_mut().enumerate() {
            let gain = if channel == 0 { pan } else { 1.0 - pan };
            plane.extend(scene.iter().map(|s| s * gain + ambience * random.noise()));
        }
    }
    planes
}

/// Two to four notes of one timbre, with vibrato, plucked at the beginning.
fn chord(random: &mut Random, rate: u32, len: usize) -> Vec<f32> {
    let brightness = random.uniform(0.5, 1.5);
    let wave: Vec<f32> = (0..2048)
        .map(|i| {
            let x = i as f32 / 2048.0 * std::f32::consts::TAU;
            (1..=24)
                .map(|h| (x * h as f32).sin() / (h as f32).powf(brightness))
                .sum::<f32>()
        })
        .collect();
    let notes: Vec<(f32, f32, f32)> = (0..random.between(2, 5))
        .map(|_| {
            let hz = 82.4 * 2f32.powf(random.between(0, 36) as f32 / 12.0);
            (
                hz / rate as f32,
                random.uniform(4.0, 7.0),
                random.uniform(0.5, 6.0),
            )
        })
        .collect();
    let mut phases = vec![0.0f32; notes.len()];
    let level = random.uniform(0.1, 0.4);
    (0..len)
        .map(|i| {
            let t = i as f32 / rate as f32;
            let mut sum = 0.0;
            for (&(step, vibrato, decay), phase) in notes.iter().zip(&mut phases) {
                let bend = 1.0 + 0.008 * triangle(vibrato * t);
                *phase = (*phase + step * bend).fract();
                sum += wave[(*phase * 2048.0) as usize & 2047] / (1.0 + decay * t);
            }
            sum * level
        })
        .collect()
}

/// Noise bursts a few times a second, each with its own colour.
fn drums(random: &mut Random, rate: u32, len: usize) -> Vec<f32> {
    let beat = (rate as f32 * random.uniform(0.1, 0.4)) as usize;
    let (mut level, mut colour, mut low) = (0.0, 1.0, 0.0);
    (0..len)
        .map(|i| {
            if i % beat == 0 {
                level = random.uniform(0.3, 0.9);
                colour = random.uniform(0.03, 1.0);
            }
            level *= 1.0 - 12.0 / rate as f32;
            low += colour * (random.noise() - low);
            low * level
        })
        .collect()
}

/// A pulse train through three resonances, which change with each phoneme; every fourth is a sibilant.
fn voice(random: &mut Random, rate: u32, len: usize) -> Vec<f32> {
    let mut pitch = random.uniform(90.0, 220.0);
    let mut formants = [[0.0f32; 4]; 3];
    let mut sibilant = false;
    let (mut phase, mut next) = (0.0f32, 0);
    (0..len)
        .map(|i| {
            if i == next {
                next += (random.uniform(0.06, 0.2) * rate as f32) as usize;
                pitch *= random.uniform(0.9, 1.1);
                sibilant = random.between(0, 4) == 0;
                for (n, formant) in formants.iter_mut().enumerate() {
                    let hz = [500.0, 1500.0, 2600.0][n] * random.uniform(0.6, 1.4);
                    let radius = 1.0 - 250.0 / rate as f32;
                    let angle = std::f32::consts::TAU * hz / rate as f32;
                    (formant[0], formant[1]) = (2.0 * radius * angle.cos(), radius * radius);
                }
            }
            phase += pitch / rate as f32 * (1.0 + 0.01 * random.noise());
            let pulse = if phase >= 1.0 {
                1.0
            } else {
                0.01 * random.noise()
            };
            phase = phase.fract();
            if sibilant {
                return 0.1 * random.noise();
            }
            let sum: f32 = formants
                .iter_mut()
                .map(|[a, b, y1, y2]| {
                    let y = pulse + *a * *y1 - *b * *y2;
                    (*y1, *y2) = (y, *y1);
                    y
                })
                .sum();
            (0.15 * sum).clamp(-1.0, 1.0)
        })
        .collect()
}

/// A cheap sine: a triangle of period 1.
fn triangle(x: f32) -> f32 {
    4.0 * (x.fract() - 0.5).abs() - 1.0
}
