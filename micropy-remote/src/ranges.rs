//! A file that is read by ranges: what is asked for, when, and how much of it at once.
//!
//! Two kinds of reads are told apart. What the engine announces ([`Source::will_read`]) is ordered ahead, several
//! requests at a time, exactly: neighbours with a small gap between them become one range. Everything else (boxes,
//! titles of chapters) is read through a window that grows while reads follow each other, and that is small after a
//! jump, so that no video comes along.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use micropy_core::{CancelToken, Source};

use crate::blocks::{Block, Blocks, Shared};
use crate::error::Error;
use crate::fetch::Head;
use crate::spool::Spool;

/// How often a read that waits looks at its token.
pub const TICK: Duration = Duration::from_millis(50);

/// Bytes that the first request asks for: most files have their `moov` box, or its beginning, among them.
pub const FIRST: u64 = 64 << 10;

/// The window after a jump: a `moof` box, or the titles of a few chapters.
const JUMP: u64 = 16 << 10;

/// The same where more would be too much.
const SHORT_JUMP: u64 = 4 << 10;

/// The largest window, and the largest range of one request.
const LARGEST: u64 = 1 << 20;

/// A read that begins at most so far behind the last one follows it.
const NEAR: u64 = 8 << 10;

/// Bytes of one request for many ranges.
const REQUEST: u64 = 256 << 10;

/// Announced bytes on order or waiting to be read: at first, and at most.
const AHEAD: Range<u64> = 512 << 10..8 << 20;

/// A gap is read over where all gaps of the range are at most this part of its bytes.
const GAPS: u64 = 32;

/// Bytes that were read and stay in memory: boxes are looked at more than once.
const KEPT: u64 = 2 << 20;

/// The file.
pub struct RangeSource {
    shared: Arc<Shared>,
    size: u64,
    cancel: CancelToken,
    while_waiting: Box<dyn FnMut() + Send>,
    /// Announced and not ordered yet.
    plan: VecDeque<Range<u64>>,
    /// Bytes of the blocks that are awaited.
    awaited: u64,
    /// How many of them there may be.
    ahead: u64,
    /// Blocks that may go, oldest first, and their bytes.
    spent: VecDeque<(u64, u64)>,
    spent_bytes: u64,
    /// What goes is kept here, once it may be asked for again.
    spool: Option<Spool>,
    /// Where reads that follow each other began, and where the last one ended.
    run: Range<u64>,
    /// Bytes that windows have brought, how many of those were read, and how many in all.
    windows: u64,
    read_of_windows: u64,
    read: u64,
}

impl RangeSource {
    /// The file of which `first` are the first bytes.
    pub fn new(
        shared: Arc<Shared>,
        head: &Head,
        first: Vec<u8>,
        cancel: CancelToken,
        while_waiting: Box<dyn FnMut() + Send>,
    ) -> Self {
        let mut source = RangeSource {
            size: head.version.size.unwrap_or(first.len() as u64),
            cancel,
            while_waiting,
            plan: VecDeque::new(),
            awaited: 0,
            ahead: AHEAD.start,
            spent: VecDeque::new(),
            spent_bytes: 0,
            spool: None,
            run: 0..0,
            windows: 0,
            read_of_windows: 0,
            read: 0,
            shared,
        };
        let end = first.len() as u64;
        if end > 0 {
            let block = Block {
                end,
                bytes: first,
                // No window brought it.
                planned: true,
                ..Block::default()
            };
            source.shared.lock().blocks.insert(0, block);
            source.spend(0, end);
        }
        source
    }

    fn spend(&mut self, start: u64, end: u64) {
        self.spent.push_back((start, end - start));
        self.spent_bytes += end - start;
    }

    /// Lets the oldest blocks go, but never the one that holds `offset`.
    fn let_go(&mut self, blocks: &mut Blocks, offset: u64) {
        while self.spent_bytes > KEPT
            && let Some((start, len)) = self.spent.pop_front()
        {
            if start <= offset && offset < start + len {
                self.spent.push_back((start, len));
                return;
            }
            self.spent_bytes -= len;
            let Some(block) = blocks.blocks.remove(&start) else {
                continue;
            };
            if let Some(spool) = &mut self.spool
                && spool.add(start, &block.bytes).is_err()
            {
                // There is no room. What is asked for again is fetched again.
                self.spool = None;
            }
        }
    }

    /// The part of `range` from its first byte that is neither on order nor at hand; what is behind it.
    fn missing(&self, blocks: &Blocks, range: Range<u64>) -> (Range<u64>, Range<u64>) {
        let mut start = range.start;
        while start < range.end {
            let held = blocks.holding(start).map(|(_, block)| block.end);
            let spooled = || self.spool.as_ref()?.end_of(start);
            match held.or_else(spooled) {
                Some(end) => start = end,
                None => break,
            }
        }
        let start = start.min(range.end);
        let next = [
            blocks.next_after(start),
            self.spool
                .as_ref()
                .and_then(|spool| spool.next_after(start)),
        ];
        let end = next.into_iter().flatten().fold(range.end, u64::min);
        (start..end, end..range.end)
    }

    /// The next range to order of the plan.
    fn next_planned(&mut self, blocks: &Blocks) -> Option<Range<u64>> {
        let mut found = loop {
            let next = self.plan.pop_front()?;
            let (missing, behind) = self.missing(blocks, next);
            if !behind.is_empty() {
                self.plan.push_front(behind);
            }
            if !missing.is_empty() {
                break missing;
            }
        };
        let mut gaps = 0;
        while let Some(next) = self.plan.front().cloned() {
            if next.start < found.end || next.end - found.start > LARGEST {
                break;
            }
            let gap = next.start - found.end;
            let joined = found.end..next.end;
            if (gaps + gap).saturating_mul(GAPS) > next.end - found.start
                || self.missing(blocks, joined.clone()).0 != joined
            {
                break;
            }
            gaps += gap;
            found.end = next.end;
            self.plan.pop_front();
        }
        if found.end - found.start > LARGEST {
            let cut = found.start + LARGEST;
            self.plan.push_front(cut..found.end);
            found.end = cut;
        }
        Some(found)
    }

    /// Orders what the engine has announced, as far as there is room for it.
    fn order_ahead(&mut self, blocks: &mut Blocks) -> Result<(), Error> {
        // In larger steps: requests for many ranges are few.
        if self.awaited > self.ahead / 2 {
            return Ok(());
        }
        let most = self.shared.origin.most_ranges();
        while self.awaited < self.ahead {
            let (mut order, mut bytes) = (Vec::new(), 0);
            while order.len() < most
                && bytes < REQUEST
                && let Some(range) = self.next_planned(blocks)
            {
                bytes += range.end - range.start;
                order.push(range);
            }
            if order.is_empty() {
                return Ok(());
            }
            self.awaited += bytes;
            self.shared.order(blocks, order, true, false)?;
        }
        Ok(())
    }

    /// Begins another run unless a read at `offset` follows the last one.
    fn follow(&mut self, offset: u64) {
        let near = self.run.end..=self.run.end.saturating_add(NEAR);
        if !near.contains(&offset) {
            self.run = offset..offset;
        }
    }

    /// How much to ask for at `offset`, where `wanted` bytes are read.
    fn window(&self, offset: u64, wanted: u64) -> u64 {
        let run = offset - self.run.start;
        let unread = self.windows.saturating_sub(self.read_of_windows);
        let allowed = (FIRST + self.read / GAPS).saturating_sub(unread);
        let jump = JUMP.min(allowed).max(SHORT_JUMP);
        wanted.max(jump + run / 2).min(LARGEST)
    }

    /// Orders what is read at `offset` now and was not announced.
    fn order_window(&mut self, blocks: &mut Blocks, offset: u64, wanted: u64) -> Result<(), Error> {
        self.follow(offset);
        let window = self.window(offset, wanted);
        let end = offset.saturating_add(window).min(self.size);
        let (range, _) = self.missing(blocks, offset..end);
        self.windows += range.end - range.start;
        self.spend(range.start, range.end);
        self.shared.order(blocks, vec![range], false, true)
    }

    /// Forgets what was announced and will not be read after all.
    fn forget(&mut self, blocks: &mut Blocks, plan: &[Range<u64>]) {
        let planned = |start: u64, end: u64| {
            plan.iter()
                .any(|range| range.start < end && start < range.end)
        };
        let lost: Vec<(u64, u64)> = blocks
            .blocks
            .iter()
            .filter(|(start, block)| block.awaited && !planned(**start, block.end))
            .map(|(start, block)| (*start, block.end))
            .collect();
        for (start, end) in lost {
            self.awaited -= end - start;
            if let Some(block) = blocks.blocks.get_mut(&start) {
                block.awaited = false;
            }
            blocks.take_back(start);
            self.spend(start, end);
        }
    }

    /// The bytes at `offset` that are there; `None` if they have to be waited for.
    fn take(
        &mut self,
        blocks: &mut Blocks,
        start: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Option<Result<usize, Error>> {
        let block = blocks.blocks.get_mut(&start)?;
        let from = (offset - start) as usize;
        let n = block.bytes.len().saturating_sub(from).min(buf.len());
        if n == 0 {
            return block.failure.clone().map(Err);
        }
        buf[..n].copy_from_slice(&block.bytes[from..from + n]);
        let end = offset + n as u64;
        if !block.planned {
            self.read_of_windows += n as u64;
        }
        if end == block.end && block.awaited {
            block.awaited = false;
            self.awaited -= end - start;
            self.spend(start, end);
        }
        self.read += n as u64;
        // As far ahead as it has come.
        self.ahead = (AHEAD.start + self.read).min(AHEAD.end);
        self.follow(offset);
        self.run.end = end;
        Some(Ok(n))
    }
}

impl Source for RangeSource {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.size || buf.is_empty() {
            return Ok(0);
        }
        if let Some(read) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.read(offset, buf))
        {
            return read;
        }
        let wanted = buf.len().min(1 << 30) as u64;
        let shared = Arc::clone(&self.shared);
        let mut blocks = shared.lock();
        loop {
            match blocks.holding(offset).map(|(start, _)| start) {
                None => self.order_window(&mut blocks, offset, wanted)?,
                Some(start) => match self.take(&mut blocks, start, offset, buf) {
                    Some(taken) => {
                        self.order_ahead(&mut blocks)?;
                        self.let_go(&mut blocks, offset);
                        return Ok(taken?);
                    }
                    None => {
                        blocks = shared.wait(blocks, TICK);
                        drop(blocks);
                        (self.while_waiting)();
                        if self.cancel.is_cancelled() {
                            return Err(Error::Cancelled.into());
                        }
                        blocks = shared.lock();
                    }
                },
            }
        }
    }

    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        self.spool.get_or_insert_with(Spool::new);
        Ok(())
    }

    fn will_read(&mut self, ranges: &[Range<u64>]) {
        let within = ranges
            .iter()
            .map(|range| range.start..range.end.min(self.size));
        let plan: Vec<Range<u64>> = within.filter(|range| range.start < range.end).collect();
        let shared = Arc::clone(&self.shared);
        let mut blocks = shared.lock();
        self.forget(&mut blocks, &plan);
        // Whoever changes plans again and again without a read must not fill the memory.
        self.let_go(&mut blocks, self.size);
        self.plan = plan.into();
        // Without a thread there is no reading ahead; the read that follows says why.
        let _ = self.order_ahead(&mut blocks);
    }

    fn cancel_with(&mut self, token: &CancelToken) {
        self.cancel = token.clone();
    }
}

impl Drop for RangeSource {
    fn drop(&mut self) {
        self.shared.end();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use micropy_core::{Converter, Options};

    use super::*;
    use crate::fetch::{Fault, Origin, Receiver, Version};

    /// Notes what it is told will be read, and which reads are not among it.
    #[derive(Default)]
    struct Told {
        file: Vec<u8>,
        told: Vec<Vec<Range<u64>>>,
        surprises: Vec<u64>,
    }

    impl Source for Told {
        fn size(&self) -> Option<u64> {
            Some(self.file.len() as u64)
        }
        fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            if let Some(told) = self.told.last()
                && !told.iter().any(|range| range.contains(&offset))
            {
                self.surprises.push(offset);
            }
            (&self.file[..]).read_at(offset, buf)
        }
        fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
            Ok(())
        }
        fn will_read(&mut self, ranges: &[Range<u64>]) {
            self.told.push(ranges.to_vec());
        }
    }

    #[test]
    fn the_engine_says_what_it_will_read() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropy-core/tests/media");
        for name in ["moov-first-stereo-44100.mp4", "moov-last-stereo-44100.mp4"] {
            let mut source = Told {
                file: fs::read(media.join(name)).unwrap(),
                ..Told::default()
            };
            let report = Converter::new(Options::new())
                .convert(&mut source, &mut Vec::new())
                .unwrap();
            assert!(report.complete, "{name}");
            assert!(
                source.surprises.is_empty(),
                "{name}: {:?}",
                source.surprises
            );
            let first = &source.told[0];
            assert!(first.len() > 1, "{name}: {first:?}");
            assert!(
                first.windows(2).all(|two| two[0].end < two[1].start),
                "{name}: {first:?}"
            );
        }
    }

    /// A file of zeros.
    struct Zeros;

    impl Origin for Zeros {
        fn get(
            &self,
            wanted: &[Range<u64>],
            version: Option<&Version>,
            receiver: &mut dyn Receiver,
        ) -> Result<(), Fault> {
            receiver.begin(&Head {
                version: version.cloned().unwrap_or_default(),
                ranged: true,
            })?;
            for range in wanted {
                receiver.take(range.start, &vec![0; (range.end - range.start) as usize])?;
            }
            Ok(())
        }
    }

    #[test]
    fn plans_that_change_without_a_read_keep_little_in_memory() {
        const MIB: u64 = 1 << 20;
        let version = Version {
            size: Some(64 * MIB),
            ..Version::default()
        };
        let shared = Shared::new(
            Box::new(Zeros),
            "zeros".into(),
            version.clone(),
            0,
            Arc::default(),
        );
        let head = Head {
            version,
            ranged: true,
        };
        let cancel = CancelToken::new();
        let mut source = RangeSource::new(shared, &head, Vec::new(), cancel, Box::new(|| {}));
        for start in (0..64).map(|i| i * MIB) {
            source.will_read(&[start..start + MIB]);
            let come = |blocks: &Blocks| {
                let held = blocks.holding(start);
                held.is_some_and(|(start, block)| block.is_done(start))
            };
            let mut blocks = source.shared.lock();
            while !come(&blocks) {
                blocks = source.shared.wait(blocks, TICK);
            }
        }
        let blocks = source.shared.lock();
        let kept = blocks.blocks.values().map(|block| block.bytes.len() as u64);
        let kept: u64 = kept.sum();
        assert!(kept <= KEPT + AHEAD.start + LARGEST, "{kept} bytes");
    }
}
