//! Whatever a broker hands over: an error, or a body that is told on as it was understood.

use super::Body;

/// Whether it is understood.
///
/// # Panics
/// Where another is told on.
pub fn message(payload: &[u8]) -> bool {
    let Ok(body) = Body::parse(payload) else {
        return false;
    };
    let told = body.clone().asking().payload;
    let again = Body::parse(&told).expect("what is told on is understood");
    assert_eq!(again, body, "{}", String::from_utf8_lossy(payload));
    assert_eq!(again.job(), body.job());
    true
}

#[cfg(test)]
mod tests {
    use super::message;
    use crate::hostile::mutations;

    #[test]
    fn a_body_that_is_understood_is_told_on_unchanged() {
        let understood = mutations("tests/seeds/message", 5000).filter(|payload| message(payload));
        let understood = understood.count();
        assert!(understood > 300, "{understood} of 5000");
    }

    #[test]
    fn depth_is_no_way_to_end_the_process() {
        let deep = format!(
            r#"{{"video_fid": "", "mp3_fid": null, "username": "", "x": {}"#,
            "[".repeat(100_000)
        );
        assert!(!message(deep.as_bytes()));
    }
}
