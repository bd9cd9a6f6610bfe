//! The waveform of what a job produced. The report keeps it, so that every ledger has a place for it.

use std::num::NonZeroU32;

use micropy_core::Waveform;
use micropy_core::ports::jobs::Output;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Points of a waveform at most. They take 2 KiB in the ledger.
pub const POINTS: NonZeroU32 = NonZeroU32::new(800).unwrap();

/// Where it is in the report.
const KEY: &str = "peaks";

/// A waveform of eight bits, all channels mixed into one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    /// Hz.
    pub sample_rate: u32,
    /// PCM samples of a point; the last one may have fewer.
    pub samples_per_pixel: u64,
    /// The lowest and the highest value of each point, in turn.
    #[serde(with = "in_base64")]
    pub values: Vec<i8>,
}

impl Peaks {
    /// `waveform`, which has eight bits.
    pub fn new(waveform: &Waveform) -> Self {
        let values = waveform.points.iter().flat_map(|&(min, max)| [min, max]);
        let eight = |value: i16| value.clamp(i8::MIN.into(), i8::MAX.into()) as i8;
        Peaks {
            sample_rate: waveform.sample_rate,
            samples_per_pixel: waveform.samples_per_pixel,
            values: values.map(eight).collect(),
        }
    }

    /// The waveform of a finished job. Old jobs have none, nor have those of an original converter.
    pub fn of(output: &Output) -> Option<Self> {
        #[derive(Deserialize)]
        struct Report {
            peaks: Peaks,
        }
        let report: Report = serde_json::from_str(&output.report).ok()?;
        Some(report.peaks)
    }

    /// Whether a conversion can have made it: a worker process is not trusted with that.
    pub fn are_sound(&self) -> bool {
        let most = 2 * POINTS.get() as usize;
        (2..=most).contains(&self.values.len())
            && self.sample_rate > 0
            && self.samples_per_pixel > 0
    }

    /// Takes the waveform out of `report`, if one is there: in lists it would only be long.
    pub fn take_out(report: &mut Value) -> bool {
        let report = report.as_object_mut();
        report.and_then(|report| report.remove(KEY)).is_some()
    }
}

mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[i8], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().map(|value| value.cast_unsigned()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        match bytes.len() % 2 {
            0 => Ok(bytes.into_iter().map(u8::cast_signed).collect()),
            _ => Err(D::Error::custom("half a point")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micropy_core::ports::Id;

    fn output(report: &Value) -> Output {
        Output {
            mp3: Id::from_bytes([1; 12]),
            bytes: 1,
            report: report.to_string(),
        }
    }

    #[test]
    fn the_report_keeps_it_and_gives_it_back() {
        let peaks = Peaks {
            sample_rate: 44_100,
            samples_per_pixel: 662,
            values: (-128..=127).collect(),
        };
        let mut report = serde_json::json!({"codec": "AAC-LC"});
        report[KEY] = serde_json::json!(peaks);
        assert_eq!(Peaks::of(&output(&report)), Some(peaks));
        assert!(Peaks::take_out(&mut report));
        assert_eq!(report, serde_json::json!({"codec": "AAC-LC"}));
        assert!(!Peaks::take_out(&mut report));
    }

    #[test]
    fn the_longest_takes_little_room() {
        let mut report = serde_json::json!({});
        let peaks = Peaks {
            sample_rate: u32::MAX,
            samples_per_pixel: u64::MAX,
            values: vec![-1; 2 * POINTS.get() as usize],
        };
        report[KEY] = serde_json::json!(peaks);
        assert!(report.to_string().len() < 2300);
    }

    #[test]
    fn a_report_without_a_sound_waveform_has_none() {
        for report in [
            serde_json::json!({}),
            serde_json::json!(null),
            serde_json::json!({"peaks": null}),
            serde_json::json!({"peaks": {"sample_rate": 44_100, "samples_per_pixel": 1, "values": "AAA="}, "x": 1}),
            serde_json::json!({"peaks": {"sample_rate": 44_100, "samples_per_pixel": 1, "values": "A"}}),
            serde_json::json!({"peaks": {"sample_rate": -1, "samples_per_pixel": 1, "values": ""}}),
        ] {
            let found = Peaks::of(&output(&report));
            match report["x"] == 1 {
                true => assert_eq!(found.map(|peaks| peaks.values), Some(vec![0, 0])),
                false => assert_eq!(found, None, "{report}"),
            }
        }
    }
}
