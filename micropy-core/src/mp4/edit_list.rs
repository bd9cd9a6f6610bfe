//! The entries of an edit list (`elst`, ISO/IEC 14496-12, 8.6.6). What they present is for [`crate::timeline`] to say.

use super::boxes::Fields;
use crate::error::Result;
use crate::timeline::Edit;

/// Reads the payload of an `elst` box into `edits`: if it ends before it should, the entries that are whole.
pub fn read(mut fields: Fields<'_>, edits: &mut Vec<Edit>) -> Result<()> {
    let (version, _) = fields.version_and_flags()?;
    let count = fields.u32()?;
    for _ in 0..count {
        let duration = fields.u32_or_u64(version)?;
        let media_time = match version {
            0 => i64::from(fields.u32()?.cast_signed()),
            _ => fields.u64()?.cast_signed(),
        };
        let media_rate = fields.u32()?;
        edits.push(Edit {
            duration,
            media_time: u64::try_from(media_time).ok(),
            at_full_speed: media_rate == 1 << 16,
        });
    }
    Ok(())
}
