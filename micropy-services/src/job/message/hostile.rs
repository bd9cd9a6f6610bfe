//! Payloads that no service of ours sent: an error, or a body that is sent on unchanged.

use micropy_core::ports::jobs::Topic;

use super::Body;

/// Whether it is a message.
///
/// # Panics
/// When the body that is sent on differs.
pub fn message(payload: &[u8]) -> bool {
    let Ok(body) = Body::parse(payload) else {
        return false;
    };
    let sent = body.clone().message(Topic::Video).payload;
    let again = Body::parse(&sent).expect("a message that we send can be read");
    assert_eq!(again, body, "{}", String::from_utf8_lossy(payload));
    assert_eq!(again.job(), body.job());
    true
}

#[cfg(test)]
mod tests {
    use super::message;
    use crate::hostile::mutations;

    #[test]
    fn a_body_that_can_be_read_is_sent_on_unchanged() {
        let read = mutations("tests/seeds/message", 5000).filter(|payload| message(payload));
        let read = read.count();
        assert!(read > 300, "{read} of 5000");
    }

    #[test]
    fn deep_nesting_does_not_end_the_process() {
        let deep = format!(
            r#"{{"video_fid": "", "mp3_fid": null, "username": "", "x": {}"#,
            "[".repeat(100_000)
        );
        assert!(!message(deep.as_bytes()));
    }
}
