//! Whatever a broker hands over: an error, or a body that is told on as it was understood.

use super::Body;
use crate::hostile::mutations;

const SEEDS: [&[u8]; 3] = [
    br#"{"video_fid": "0123456789abcdef01234567", "mp3_fid": null, "username": "ann@example.com"}"#,
    br#"{"video_fid": "00ff", "mp3_fid": "ff", "username": "b", "job_id": "0123456789abcdef01234567",
        "file_name": "talk.mp4", "failure": "no audio track", "traceparent": "00-x", "n": [1, 2.5, {"a": null}]}"#,
    br#"{"others": {"job_id": 1}, "video_fid": "", "mp3_fid": "", "username": "\u00e9\ud83d\ude00"}"#,
];

#[test]
fn a_body_that_is_understood_is_told_on_unchanged() {
    let mut understood = 0;
    for payload in mutations(&SEEDS, 5000) {
        let Ok(body) = Body::parse(&payload) else {
            continue;
        };
        understood += 1;
        let told = body.clone().asking().payload;
        let again = Body::parse(&told).unwrap();
        assert_eq!(again, body, "{}", String::from_utf8_lossy(&payload));
        assert_eq!(again.job(), body.job());
    }
    assert!(understood > 300, "{understood} of 5000");
}

#[test]
fn depth_is_no_way_to_end_the_process() {
    let deep = format!(
        r#"{{"video_fid": "", "mp3_fid": null, "username": "", "x": {}"#,
        "[".repeat(100_000)
    );
    assert!(Body::parse(deep.as_bytes()).is_err());
}
