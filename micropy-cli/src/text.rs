//! Durations and sizes for people.

use std::time::Duration;

/// `1:02:03.4`, `2:03.4` or `3.4 s`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let (seconds, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}.{tenth} s"),
        (0, _) => format!("{minutes}:{rest:02}.{tenth}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}.{tenth}"),
    }
}

/// `999 B`, `1.2 kB`, `3.4 MB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_a_players() {
        assert_eq!(duration(Duration::from_millis(3_449)), "3.4 s");
        assert_eq!(duration(Duration::from_millis(59_960)), "1:00.0");
        assert_eq!(duration(Duration::from_secs(123)), "2:03.0");
        assert_eq!(duration(Duration::from_secs(3_723)), "1:02:03.0");
    }

    #[test]
    fn byte_counts_are_short() {
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(1_234), "1.2 kB");
        assert_eq!(bytes(2_345_678), "2.3 MB");
    }
}
