//! Exponents: how far each frequency's mantissa is shifted down (ATSC A/52, 7.1).

use super::BINS;
use super::fault::Fault;
use super::frame_bits::FrameBits;

/// How a block's exponents are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Those of the block before are used again.
    #[default]
    Reuse,
    /// Each difference is for one frequency.
    D15,
    /// For two.
    D25,
    /// For four.
    D45,
}

impl Strategy {
    /// `chexpstr` and `cplexpstr`, table 5.24 (two bits), and `lfeexpstr` (one).
    pub fn of(code: u32) -> Strategy {
        match code {
            0 => Strategy::Reuse,
            1 => Strategy::D15,
            2 => Strategy::D25,
            _ => Strategy::D45,
        }
    }

    /// Frequencies to a difference.
    fn run(self) -> usize {
        match self {
            Strategy::Reuse | Strategy::D15 => 1,
            Strategy::D25 => 2,
            Strategy::D45 => 4,
        }
    }

    /// The six strategies of a frame from one code (`frmchexpstr`, table E2.10): each bit, the first for the second
    /// block, says whether new exponents are sent; the longer they are used, the finer they are.
    pub fn of_frame(code: u32) -> [Strategy; 6] {
        let sent = |block: usize| block == 0 || code >> (5 - block) & 1 == 1;
        let mut strategies = [Strategy::Reuse; 6];
        for block in (0..6).filter(|&block| sent(block)) {
            let run = (block + 1..6).take_while(|&later| !sent(later)).count() + 1;
            strategies[block] = match run {
                1 => Strategy::D45,
                2 | 3 => Strategy::D25,
                _ => Strategy::D15,
            };
        }
        strategies
    }
}

/// The exponents of a channel, from the bin `start` on.
#[derive(Clone)]
pub struct Exponents {
    pub values: [u8; BINS],
    pub start: usize,
    pub end: usize,
}

impl Exponents {
    /// None at all.
    pub const NONE: Exponents = Exponents {
        values: [0; BINS],
        start: 0,
        end: 0,
    };

    /// Reads those of a channel that begins at frequency 0 and ends before `end`.
    pub fn read(
        &mut self,
        bits: &mut FrameBits<'_>,
        strategy: Strategy,
        end: usize,
    ) -> Result<(), Fault> {
        (self.start, self.end) = (0, end);
        let first = bits.read(4)? as u8;
        self.values[0] = first;
        let run = strategy.run();
        let groups = (end - 1 + 3 * (run - 1)) / (3 * run);
        self.read_groups(bits, first, groups, run, 1)
    }

    /// Reads those of the coupling channel, which covers `start..end`.
    pub fn read_coupled(
        &mut self,
        bits: &mut FrameBits<'_>,
        strategy: Strategy,
        start: usize,
        end: usize,
    ) -> Result<(), Fault> {
        (self.start, self.end) = (start, end);
        let first = (bits.read(4)? as u8) << 1;
        let run = strategy.run();
        self.read_groups(bits, first, (end - start) / (3 * run), run, start)
    }

    /// Each group is three differences of −2 to 2 from the exponent before, in base 5 (7.1.3).
    fn read_groups(
        &mut self,
        bits: &mut FrameBits<'_>,
        first: u8,
        groups: usize,
        run: usize,
        start: usize,
    ) -> Result<(), Fault> {
        let mut runs = self.values[start..].chunks_mut(run);
        let mut exponent = i32::from(first);
        for _ in 0..groups {
            let code = bits.read(7)?;
            for digit in [code / 25, code / 5 % 5, code % 5] {
                exponent += digit as i32 - 2;
                if digit > 4 || !(0..=24).contains(&exponent) {
                    return Err(Fault::Impossible("exponent"));
                }
                if let Some(run) = runs.next() {
                    run.fill(exponent as u8);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Strategy::*;
    use super::*;

    /// Rows of table E2.10.
    #[test]
    fn frame_strategies_are_the_tables() {
        let rows = [
            (0, [D15, Reuse, Reuse, Reuse, Reuse, Reuse]),
            (1, [D15, Reuse, Reuse, Reuse, Reuse, D45]),
            (4, [D25, Reuse, Reuse, D25, Reuse, Reuse]),
            (8, [D25, Reuse, D15, Reuse, Reuse, Reuse]),
            (14, [D25, Reuse, D45, D45, D25, Reuse]),
            (16, [D45, D15, Reuse, Reuse, Reuse, Reuse]),
            (18, [D45, D25, Reuse, Reuse, D25, Reuse]),
            (31, [D45; 6]),
        ];
        for (code, strategies) in rows {
            assert_eq!(Strategy::of_frame(code), strategies, "{code}");
        }
    }

    #[test]
    fn differences_run_from_the_first_exponent() {
        // 10, then +2 −1 0 and −2 −2 +1, each for two frequencies.
        let groups = [4 * 25 + 5 + 2, 3];
        let packed = 10u32 << 28 | groups[0] << 21 | groups[1] << 14;
        let bytes = packed.to_be_bytes();
        let mut exponents = Exponents::NONE;
        exponents
            .read(&mut FrameBits::at(&bytes, 0), D25, 13)
            .unwrap();
        let expected = [10, 12, 12, 11, 11, 11, 11, 9, 9, 7, 7, 8, 8];
        assert_eq!(exponents.values[..13], expected);
    }

    #[test]
    fn exponents_out_of_range_are_a_fault() {
        // 0, then −2.
        let mut bits = FrameBits::at(&[0, 0, 0, 0], 0);
        let read = Exponents::NONE.clone().read(&mut bits, D15, 4);
        assert_eq!(read, Err(Fault::Impossible("exponent")));
    }
}
