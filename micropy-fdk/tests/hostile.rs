//! Packets that reached a fault of the library before it was mended (`patches`), one file for each fault.
//!
//! A file is a stream: a byte with the length of an AudioSpecificConfig, the configuration, and packets, each behind
//! its length (two bytes, the high one first). `scripts/fuzz fdk-faults` puts the faults back one by one and shows each
//! to AddressSanitizer.

use micropy_fdk::{Decoder, Error};

/// What came of each packet: its PCM, or why there is none.
fn decoded(stream: &[u8]) -> Vec<Result<Vec<i16>, Error>> {
    let (&length, rest) = stream.split_first().expect("a length");
    let (config, mut rest) = rest.split_at(length.into());
    let mut decoder = Decoder::new(config).expect("a configuration that we open");
    let mut outcomes = Vec::new();
    while let [high, low, packets @ ..] = rest {
        let (packet, others) = packets.split_at(u16::from_be_bytes([*high, *low]).into());
        outcomes.push(decoder.decode(packet).map(|(pcm, _)| pcm.to_vec()));
        rest = others;
    }
    outcomes
}

/// Which packets are decoded, in order; and twice the same, whatever lay in memory.
fn good(stream: &[u8]) -> Vec<bool> {
    let first = decoded(stream);
    let noise: Vec<Vec<u8>> = (1..=64).map(|n| vec![0xA5; n << 10]).collect();
    drop(noise);
    assert!(first == decoded(stream), "the PCM is of chance");
    first.iter().map(Result::is_ok).collect()
}

/// ACELP at 14,700 Hz with its longest pitch lag, 261 samples, and then two packets that are cut off: the concealment
/// takes 256 for the lag, which is 0 in eight bits.
#[test]
fn a_lost_packet_behind_the_longest_pitch_lag_is_concealed() {
    assert_eq!(
        good(include_bytes!("packets/pitch-lag")),
        [true, true, false, false]
    );
}

/// SBR from 48 to 96 kHz whose seventh patch is refused.
#[test]
fn one_patch_too_many_is_refused() {
    assert_eq!(good(include_bytes!("packets/patches")), [true; 3]);
}

/// RVLC with escape codes, and a table of escape values that is empty.
#[test]
fn scale_factors_without_their_escape_values_are_concealed() {
    assert_eq!(good(include_bytes!("packets/escapes")), [true; 2]);
}

/// USAC whose harmonic transposer is given a gain of more than it counts with.
#[test]
fn a_gain_of_any_size_is_shifted_by_no_more_bits_than_there_are() {
    assert_eq!(good(include_bytes!("packets/shifts")), [true; 3]);
}

/// ELD that the first look refuses. The second one took it up again, and allocated what it could.
#[test]
fn a_configuration_that_was_refused_is_not_looked_at_again() {
    let stream = include_bytes!("packets/config-refused");
    let refused = Decoder::new(&stream[1..]).err();
    assert_eq!(refused, Some(Error::Config(0x2003)));
}
