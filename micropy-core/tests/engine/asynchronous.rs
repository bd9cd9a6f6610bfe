//! Async programs: what goes in as a reader, a stream or a source comes out as the same MP3, both sides wait for each
//! other, and what is dropped, cancelled, broken or panicking ends.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Cursor, SeekFrom};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::clip;
use crate::support::movie::{Moov, pcm_movie};
use crate::support::music::music;
use crate::support::work::cpu_time;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use micropy_core::{
    AsyncSource, CancelToken, Converter, Error, FileSink, Mp3Stream, Options, Source, StreamSink,
    StreamSource, probe,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncWrite, ReadBuf};

/// Clips that are read forward, spooled, and by fragments.
const CLIPS: [&str; 4] = [
    "moov-first-stereo-44100.mp4",
    "moov-last-stereo-44100.mp4",
    "fragmented-dash.mp4",
    "two-tracks.mp4",
];

fn converter() -> Converter<'static> {
    Converter::new(Options::new())
}

/// What the synchronous engine makes of a pipe, for a pipe.
fn expected(video: &[u8], options: Options) -> Vec<u8> {
    let mut mp3 = StreamSink::new(Vec::new());
    let mut converter = Converter::new(options);
    converter
        .convert(StreamSource::new(video), &mut mp3)
        .unwrap();
    mp3.into_inner()
}

async fn collect(mut mp3: Mp3Stream<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = mp3.try_next().await.unwrap() {
        assert!(!chunk.is_empty());
        bytes.extend(chunk);
    }
    assert_eq!(mp3.report().unwrap().output_bytes, bytes.len() as u64);
    assert!(mp3.next().await.is_none());
    bytes
}

/// `bytes` in chunks of this length.
fn chunks(bytes: &[u8], length: usize) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let chunks: Vec<_> = bytes.chunks(length).map(Bytes::copy_from_slice).collect();
    stream::iter(chunks).map(Ok)
}

/// Gives few bytes at a time, and often has none yet.
struct Slow<R> {
    inner: R,
    turn: u64,
}

impl<R> Slow<R> {
    fn new(inner: R) -> Self {
        Slow { inner, turn: 0 }
    }

    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.turn += 1;
        let ready = !self.turn.is_multiple_of(3);
        if !ready {
            cx.waker().wake_by_ref();
        }
        ready
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Slow<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        let mut some = buf.take(1 + (self.turn * 37 % 5000) as usize);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut some);
        let filled = some.filled().len();
        buf.advance(filled);
        read
    }
}

impl<R: AsyncSeek + Unpin> AsyncSeek for Slow<R> {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.inner).start_seek(position)
    }
    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_complete(cx)
    }
}

/// Has nothing to give, ever.
struct Silent {
    _dropped: SetOnDrop,
}

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An hour of noise that is not stored: 8 kHz, one channel, 16 bits. It counts the bytes that were read of it.
#[derive(Clone)]
struct Hour {
    head: Arc<[u8]>,
    size: u64,
    read: Arc<AtomicU64>,
}

impl Hour {
    fn new() -> Self {
        static HEAD: OnceLock<(Arc<[u8]>, u64)> = OnceLock::new();
        let (head, size) = HEAD.get_or_init(|| {
            let file = pcm_movie(&[vec![0.0; 8_000 * 3600]], 8_000, Moov::First);
            let media_at = file.windows(4).position(|w| w == b"mdat").unwrap() + 4;
            (file[..media_at].into(), file.len() as u64)
        });
        Hour {
            head: head.clone(),
            size: *size,
            read: Arc::default(),
        }
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn stream(mut self) -> impl Stream<Item = io::Result<Bytes>> {
        let mut offset = 0;
        stream::poll_fn(move |_| {
            let mut chunk = vec![0; 40_000];
            let n = self.read_at(offset, &mut chunk).unwrap();
            chunk.truncate(n);
            offset += n as u64;
            Poll::Ready((n > 0).then(|| Ok(chunk.into())))
        })
    }
}

impl Source for Hour {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let head = self.head.get(offset as usize..).unwrap_or_default();
        let n = buf.len().min((self.size - offset.min(self.size)) as usize);
        for (i, byte) in buf[..n].iter_mut().enumerate() {
            let noise = (offset + i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
            *byte = head.get(i).copied().unwrap_or(noise as u8);
        }
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
    fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a conversion is there: its callback is dropped with it.
struct Watch {
    alive: Weak<()>,
    progress: Arc<AtomicU64>,
}

impl Watch {
    fn of(converter: Converter<'static>) -> (Converter<'static>, Watch) {
        let alive = Arc::new(());
        let progress = Arc::new(AtomicU64::new(0));
        let watch = Watch {
            alive: Arc::downgrade(&alive),
            progress: progress.clone(),
        };
        let converter = converter.on_progress(move |p| {
            let _ = &alive;
            progress.store(p.done.as_millis() as u64, Ordering::Relaxed);
        });
        (converter, watch)
    }

    fn is_alive(&self) -> bool {
        self.alive.strong_count() > 0
    }

    /// Fails if the conversion does not end, or computes for long before it does.
    fn assert_ends(&self) {
        let (began, before) = (Instant::now(), cpu_time());
        while self.is_alive() {
            assert!(began.elapsed() < Duration::from_secs(60), "it hangs");
            thread::sleep(Duration::from_millis(5));
        }
        let more = cpu_time() - before;
        assert!(more < Duration::from_secs(5), "{more:?}");
    }
}

/// Polls `future` for a while, in which it must not end.
async fn poll_for<F: Future<Output: std::fmt::Debug>>(time: Duration, future: F) {
    let ended = tokio::time::timeout(time, future).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// Polls `mp3` whenever it asks for that, until it asks no more.
fn assert_quiet(mp3: &mut Mp3Stream<'_>) {
    struct Count(AtomicU64);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(count.clone());
    let (began, mut asked) = (Instant::now(), u64::MAX);
    while std::mem::replace(&mut asked, count.0.load(Ordering::SeqCst)) != asked {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it asks on and on"
        );
        while mp3
            .poll_next_unpin(&mut Context::from_waker(&waker))
            .map(Option::unwrap)
            .map(Result::unwrap)
            .is_ready()
        {}
        thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until `done`, a minute at most.
async fn until(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "it hangs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stream_becomes_what_a_pipe_becomes_however_it_is_cut() {
    for name in CLIPS {
        let video = clip(name);
        let expected = expected(&video, Options::new());
        for length in [1, 7, 1000, 100_000, 10_000_000] {
            let source = AsyncSource::from_stream(chunks(&video, length));
            let mp3 = collect(converter().into_stream(source)).await;
            assert!(mp3 == expected, "{name} in chunks of {length}");
        }
    }
}

#[tokio::test]
async fn readers_and_sources_become_the_same() {
    for name in CLIPS {
        let video = clip(name);
        let expected = expected(&video, Options::new());
        let path = crate::support::media().join(name);
        let file = || tokio::fs::File::open(&path);
        let sources = [
            AsyncSource::from_reader(&video[..]),
            AsyncSource::from_reader(Slow::new(&video[..])),
            AsyncSource::from_reader(file().await.unwrap()),
            AsyncSource::from_seekable(Cursor::new(&video))
                .await
                .unwrap(),
            AsyncSource::from_seekable(Slow::new(Cursor::new(&video)))
                .await
                .unwrap(),
            AsyncSource::from_seekable(file().await.unwrap())
                .await
                .unwrap(),
            AsyncSource::from_source(StreamSource::new(Cursor::new(video.clone()))),
        ];
        for (i, source) in sources.into_iter().enumerate() {
            let mp3 = collect(converter().into_stream(source)).await;
            assert!(mp3 == expected, "{name}, source {i}");
        }
    }
}

#[tokio::test]
async fn options_that_need_two_passes_do_so_over_any_source() {
    let video = pcm_movie(&music(1, 22_050, 1, 22_050 * 90), 22_050, Moov::Last);
    let options = || Options::new().normalize(-16.0).trim_silence(true).jobs(2);
    let expected = expected(&video, options());
    let sources = [
        AsyncSource::from_stream(chunks(&video, 9999)),
        AsyncSource::from_seekable(Cursor::new(&video))
            .await
            .unwrap(),
    ];
    for source in sources {
        let mp3 = collect(Converter::new(options()).into_stream(source)).await;
        assert!(mp3 == expected);
    }
}

#[tokio::test]
async fn empty_chunks_are_no_end() {
    let video = clip(CLIPS[1]);
    let halves = video.split_at(5000);
    let empty = || stream::iter(vec![Bytes::new(); 1000]).map(Ok);
    let stream = empty()
        .chain(chunks(halves.0, 500))
        .chain(empty())
        .chain(chunks(halves.1, 70_000))
        .chain(empty());
    let mp3 = collect(converter().into_stream(AsyncSource::from_stream(stream))).await;
    assert!(mp3 == expected(&video, Options::new()));
}

#[tokio::test]
async fn the_stream_can_be_read() {
    let video = clip(CLIPS[0]);
    let mut mp3 = converter().into_stream(AsyncSource::from_reader(&video[..]));
    let mut bytes = vec![0; 10];
    mp3.read_exact(&mut bytes).await.unwrap();
    // What is left of a chunk is the stream's next item.
    bytes.extend(mp3.try_next().await.unwrap().unwrap());
    mp3.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes == expected(&video, Options::new()));
    assert_eq!(mp3.report().unwrap().output_bytes, bytes.len() as u64);
}

#[test]
fn it_takes_no_runtime() {
    let video = clip(CLIPS[1]);
    let source = AsyncSource::from_reader(&video[..]);
    let mp3 = pollster::block_on(collect(converter().into_stream(source)));
    assert!(mp3 == expected(&video, Options::new()));
}

#[test]
fn streams_and_futures_can_be_spawned() {
    fn can_be_spawned<T: Send + 'static>(_: &T) {}
    fn moves<T: Unpin>(_: &T) {}
    let source = || AsyncSource::from_reader(tokio::io::empty());
    let mp3 = converter().into_stream(source());
    can_be_spawned(&mp3);
    moves(&mp3);
    can_be_spawned(&converter().convert_async(source(), tokio::io::sink()));
    can_be_spawned(&source().run(|video| probe(video)));
}

/// Takes one byte, or half of what is there, or nothing yet; and wants to be flushed.
#[derive(Default)]
struct Picky {
    bytes: Vec<u8>,
    turn: usize,
    unflushed: usize,
}

impl AsyncWrite for Picky {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.turn += 1;
        let n = match self.turn % 3 {
            0 => 1,
            1 => bytes.len().div_ceil(2),
            _ => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        self.bytes.extend(&bytes[..n]);
        self.unflushed += n;
        Poll::Ready(Ok(n))
    }
    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unflushed = 0;
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("the writer is the caller's")
    }
}

#[tokio::test]
async fn a_writer_gets_all_and_is_flushed() {
    for name in CLIPS {
        let video = clip(name);
        let mut writer = Picky::default();
        let source = AsyncSource::from_reader(Slow::new(&video[..]));
        let report = converter()
            .convert_async(source, &mut writer)
            .await
            .unwrap();
        assert_eq!(report.output_bytes, writer.bytes.len() as u64);
        assert!(writer.bytes == expected(&video, Options::new()));
        assert_eq!(writer.unflushed, 0);
    }
}

#[tokio::test]
async fn a_reader_that_seeks_is_read_where_the_audio_is() {
    struct Counted(Cursor<Vec<u8>>, Arc<AtomicU64>);
    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            let read = Pin::new(&mut self.0).poll_read(cx, buf);
            let n = buf.filled().len() - before;
            self.1.fetch_add(n as u64, Ordering::Relaxed);
            read
        }
    }
    impl AsyncSeek for Counted {
        fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
            Pin::new(&mut self.0).start_seek(position)
        }
        fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
            Pin::new(&mut self.0).poll_complete(cx)
        }
    }

    let mut video = clip("moov-last-stereo-44100.mp4");
    let audio = video.len() as u64;
    let expected = expected(&video, Options::new());
    // Eight megabytes that are no audio, between the boxes.
    let moov = video.windows(4).position(|four| four == b"moov").unwrap() - 4;
    let mut free = 8_000_000_u32.to_be_bytes().to_vec();
    free.extend(b"free");
    free.resize(8_000_000, 0);
    video.splice(moov..moov, free);

    let read = Arc::new(AtomicU64::new(0));
    let mut reader = Counted(Cursor::new(video), read.clone());
    reader.0.set_position(1234);
    let source = AsyncSource::from_seekable(reader).await.unwrap();
    let mp3 = collect(converter().into_stream(source)).await;
    assert!(mp3 == expected);
    let read = read.load(Ordering::Relaxed);
    assert!(read < audio + 200_000, "{read} bytes of {audio}");
}

#[tokio::test]
async fn what_is_not_taken_holds_the_conversion() {
    let hour = Hour::new();
    let (converter, watch) = Watch::of(Converter::new(Options::new().cbr(64).jobs(2)));
    let mut mp3 = converter.into_stream(AsyncSource::from_source(hour.clone()));
    let first = mp3.try_next().await.unwrap().unwrap();
    assert!(first.len() <= 64 << 10, "{}", first.len());
    // It goes on until its window is full, and then waits.
    let mut read = 0;
    until(|| watch.progress.load(Ordering::Relaxed) > 0).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if std::mem::replace(&mut read, hour.read()) == read {
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hour.read(), read);
    assert!(read < hour.size / 4, "{read} of {} bytes", hour.size);
    assert!(watch.is_alive());

    // And goes on when it is taken.
    while hour.read() == read {
        mp3.try_next().await.unwrap().unwrap();
    }
    drop(mp3);
    watch.assert_ends();
}

/// Takes nothing.
struct Stuck;

impl AsyncWrite for Stuck {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_writer_that_takes_nothing_holds_the_input() {
    let hour = Hour::new();
    let (converter, watch) = Watch::of(Converter::new(Options::new().cbr(64).jobs(2)));
    let source = AsyncSource::from_stream(hour.clone().stream());
    let mut conversion = Box::pin(converter.convert_async(source, Stuck));
    let mut read = 1;
    while std::mem::replace(&mut read, hour.read()) != hour.read() || read == 0 {
        poll_for(Duration::from_millis(500), &mut conversion).await;
    }
    assert!(read < hour.size / 4, "{read} of {} bytes", hour.size);
    assert!(watch.is_alive());
    drop(conversion);
    watch.assert_ends();
}

#[tokio::test]
async fn a_source_that_gives_nothing_holds_nobody() {
    let dropped = Arc::new(AtomicBool::new(false));
    let silent = Silent {
        _dropped: SetOnDrop(dropped.clone()),
    };
    let (converter, watch) = Watch::of(converter());
    // It begins well, and then nothing comes.
    let head = clip(CLIPS[0])[..5000].to_vec();
    let source = AsyncSource::from_reader(Cursor::new(head).chain(silent));
    let mut mp3 = converter.into_stream(source);
    assert!(watch.is_alive());
    assert_quiet(&mut mp3);
    assert!(watch.is_alive());
    drop(mp3);
    assert!(dropped.load(Ordering::Relaxed), "the reader is still there");
    watch.assert_ends();
}

#[tokio::test]
async fn a_dropped_stream_ends_a_pass_that_writes_nothing() {
    // Loudness is measured first: of a source that blocks, and of what a stream has spooled.
    let options = || Options::new().normalize(-16.0).jobs(2);
    let sources: [fn(Hour) -> AsyncSource<'static>; 2] = [AsyncSource::from_source, |hour| {
        AsyncSource::from_stream(hour.stream())
    }];
    for source in sources {
        let token = CancelToken::new();
        let converter = Converter::new(options()).cancel(token.clone());
        let (converter, watch) = Watch::of(converter);
        let mut mp3 = converter.into_stream(source(Hour::new()));
        while watch.progress.load(Ordering::Relaxed) == 0 {
            poll_for(Duration::from_millis(20), mp3.next()).await;
        }
        assert!(watch.is_alive());
        drop(mp3);
        watch.assert_ends();
        // Others may hold the token.
        assert!(!token.is_cancelled());
    }
}

#[tokio::test]
async fn a_stream_that_is_never_polled_starts_nothing() {
    let hour = Hour::new();
    let (converter, watch) = Watch::of(converter());
    let mp3 = converter.into_stream(AsyncSource::from_source(hour.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hour.read(), 0);
    drop(mp3);
    assert!(!watch.is_alive());
}

#[tokio::test]
async fn dropped_work_finds_its_source_broken() {
    let ended = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicBool::new(false));
    let (set, began) = (SetOnDrop(ended.clone()), begun.clone());
    let work = AsyncSource::from_source(Hour::new()).run(move |source| {
        let _set = set;
        began.store(true, Ordering::Relaxed);
        Converter::new(Options::new().jobs(1)).convert(source, StreamSink::new(io::sink()))
    });
    let mut work = Box::pin(work);
    while !begun.load(Ordering::Relaxed) {
        poll_for(Duration::from_millis(20), &mut work).await;
    }
    drop(work);
    until(|| ended.load(Ordering::Relaxed)).await;
}

#[tokio::test]
async fn a_token_cancels_from_elsewhere() {
    let silent = || Silent {
        _dropped: SetOnDrop(Arc::default()),
    };
    // While it waits for input, for room in the output, and while it computes.
    let stuck = AsyncSource::from_source(Hour::new());
    let silent = AsyncSource::from_reader(silent());
    let normalize = Options::new().normalize(-16.0);
    let measured = AsyncSource::from_source(Hour::new());
    for (source, options) in [
        (silent, Options::new()),
        (stuck, Options::new()),
        (measured, normalize),
    ] {
        let token = CancelToken::new();
        let mut mp3 = Converter::new(options.jobs(2))
            .cancel(token.clone())
            .into_stream(source);
        let _ = mp3.next().now_or_never();
        tokio::time::sleep(Duration::from_millis(700)).await;
        token.cancel();
        let error = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                if let Err(error) = mp3.next().await.unwrap() {
                    break error;
                }
            }
        })
        .await
        .unwrap();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert!(mp3.next().await.is_none() && mp3.report().is_none());
    }
}

#[tokio::test]
async fn an_error_of_the_source_is_the_error_of_the_stream() {
    #[derive(Debug, thiserror::Error)]
    #[error("the client went away")]
    struct Gone;

    let video = clip(CLIPS[0]);
    for kept in [0, 100, 5000, 20_000] {
        let fails = |error: io::Error| {
            let stream = chunks(&video[..kept], 999).chain(stream::iter([Err(error)]));
            converter().into_stream(AsyncSource::from_stream(stream))
        };
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut] {
            let error = error_of(fails(io::Error::new(kind, "the cable is out"))).await;
            let Error::Read(why) = &error else {
                panic!("{error}")
            };
            assert_eq!(
                (why.kind(), why.to_string()),
                (kind, "the cable is out".into())
            );
        }
        // Reading again is for readers, and this stream has said its last word.
        let error = error_of(fails(io::ErrorKind::Interrupted.into())).await;
        let told = error.with_causes().to_string();
        assert!(told.contains("interrupted"), "{told}");

        let of_others = chunks(&video[..kept], 999)
            .map_err(|_| Gone)
            .chain(stream::iter([Err(Gone)]));
        let error = error_of(converter().into_stream(AsyncSource::from_stream(of_others))).await;
        let Error::Read(why) = &error else {
            panic!("{error}")
        };
        assert!(why.get_ref().unwrap().is::<Gone>());

        // A reader holds the same.
        let mut mp3 = fails(io::ErrorKind::ConnectionReset.into());
        let error = mp3.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let inner = error.get_ref().unwrap().downcast_ref::<Error>();
        assert!(matches!(inner, Some(Error::Read(_))), "{inner:?}");
    }
}

/// The last item of a stream, which must be an error.
async fn error_of(mut mp3: Mp3Stream<'_>) -> Error {
    let error = loop {
        if let Err(error) = mp3.next().await.expect("no error") {
            break error;
        }
    };
    assert!(mp3.next().await.is_none() && mp3.report().is_none());
    error
}

#[tokio::test]
async fn a_reader_that_cannot_seek_says_so() {
    /// Has a length, and seeks to the wrong place, or not at all.
    struct Broken(Cell<u64>, Option<u64>);
    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            panic!("nobody knows where it is")
        }
    }
    impl AsyncSeek for Broken {
        fn start_seek(self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
            if position == SeekFrom::End(0) {
                self.0.set(5000);
                return Ok(());
            }
            self.0.set(self.1.ok_or(io::ErrorKind::NotSeekable)?);
            Ok(())
        }
        fn poll_complete(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
            Poll::Ready(Ok(self.0.get()))
        }
    }
    for (to, why) in [(Some(7), "byte 7 instead of 0"), (None, "seek")] {
        let broken = AsyncSource::from_seekable(Broken(Cell::new(0), to)).await;
        let error = error_of(converter().into_stream(broken.unwrap())).await;
        assert!(matches!(error, Error::Read(_)), "{error}");
        assert!(
            error.with_causes().to_string().contains(why),
            "{}",
            error.with_causes()
        );
    }
}

#[tokio::test]
async fn an_error_of_the_writer_ends_the_conversion() {
    let (converter, watch) = Watch::of(Converter::new(Options::new().cbr(64).jobs(2)));
    let (near, mut far) = tokio::io::duplex(1000);
    let conversion = converter.convert_async(AsyncSource::from_source(Hour::new()), near);
    let client = async {
        let mut some = vec![0; 50_000];
        far.read_exact(&mut some).await.unwrap();
        drop(far);
    };
    let (ended, ()) = tokio::join!(conversion, client);
    let error = ended.unwrap_err();
    assert!(
        matches!(&error, Error::Write(why) if why.kind() == io::ErrorKind::BrokenPipe),
        "{error}"
    );
    watch.assert_ends();

    let mut place = [0; 100];
    let video = clip(CLIPS[0]);
    let source = AsyncSource::from_reader(&video[..]);
    let error = Converter::new(Options::new())
        .convert_async(source, Cursor::new(&mut place[..]))
        .await;
    assert!(
        matches!(&error, Err(Error::Write(why)) if why.kind() == io::ErrorKind::WriteZero),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_panic_of_the_thread_is_an_error() {
    struct Panics;
    impl Source for Panics {
        fn size(&self) -> Option<u64> {
            None
        }
        fn read_at(&mut self, _offset: u64, _buf: &mut [u8]) -> io::Result<usize> {
            panic!("out of cheese")
        }
        fn keep_from(&mut self, _offset: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let told = |error: &Error| {
        assert!(matches!(error, Error::Internal(_)), "{error}");
        assert!(error.to_string().contains("out of cheese"), "{error}");
    };
    told(&error_of(converter().into_stream(AsyncSource::from_source(Panics))).await);

    let video = clip(CLIPS[0]);
    let calls = converter().on_progress(|_| panic!("out of cheese"));
    told(&error_of(calls.into_stream(AsyncSource::from_reader(&video[..]))).await);

    let work = AsyncSource::from_reader(&video[..]).run::<()>(|_| panic!("out of cheese"));
    told(&work.await.unwrap_err());
}

#[tokio::test]
async fn a_panic_of_the_source_is_the_caller_s_and_ends_the_thread() {
    let (converter, watch) = Watch::of(converter());
    let stream = chunks(&clip(CLIPS[0])[..5000], 100).chain(stream::poll_fn(|_| panic!("mine")));
    let mut mp3 = converter.into_stream(AsyncSource::from_stream(stream));
    let task = tokio::spawn(async move { while mp3.next().await.is_some() {} });
    assert!(task.await.unwrap_err().is_panic());
    watch.assert_ends();
}

#[tokio::test]
async fn it_is_known_early_whether_there_will_be_an_mp3() {
    let video = clip(CLIPS[0]);
    let mut mp3 = converter().into_stream(AsyncSource::from_reader(&video[..]));
    mp3.started().await.unwrap();
    mp3.started().await.unwrap();
    assert!(collect(mp3).await == expected(&video, Options::new()));

    for (video, is_right) in [
        (
            clip("video-only.mp4"),
            (|e| matches!(e, Error::NoAudioTrack(_))) as fn(&Error) -> bool,
        ),
        (b"no film".to_vec(), |e| matches!(e, Error::NotMp4 { .. })),
        (Vec::new(), |e| matches!(e, Error::NotMp4 { .. })),
    ] {
        let mut mp3 = converter().into_stream(AsyncSource::from_reader(&video[..]));
        let error = mp3.started().await.unwrap_err();
        assert!(is_right(&error), "{error}");
        assert!(mp3.next().await.is_none());
    }
    let options = Options::new().cbr(7);
    let mut mp3 = Converter::new(options).into_stream(AsyncSource::from_reader(&video[..]));
    assert!(matches!(mp3.started().await, Err(Error::InvalidOption(_))));
}

#[tokio::test]
async fn a_stream_spools_where_and_as_much_as_it_may() {
    let video = clip("moov-last-stereo-44100.mp4");
    let source = || AsyncSource::from_reader(&video[..]);
    let error = error_of(converter().into_stream(source().spool_limit(1000))).await;
    assert!(
        matches!(&error, Error::Read(why) if why.kind() == io::ErrorKind::QuotaExceeded),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = error_of(converter().into_stream(source().spool_folder(&missing))).await;
    let told = error.with_causes().to_string();
    assert!(told.contains("missing"), "{told}");
    let spooled = source().spool_folder(folder.path()).spool_limit(1 << 20);
    assert!(collect(converter().into_stream(spooled)).await == expected(&video, Options::new()));
}

#[tokio::test]
async fn a_file_appears_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.mp3");
    let video = clip(CLIPS[0]);
    for (bytes, whole) in [(&b"no film"[..], false), (&video, true)] {
        let path = path.clone();
        let source = AsyncSource::from_stream(chunks(bytes, 4096));
        let done = source.run(move |source| {
            let sink = FileSink::create(path, false).map_err(Error::Write)?;
            converter().convert(source, sink)
        });
        assert_eq!(done.await.is_ok(), whole);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            usize::from(whole)
        );
    }
    let mut of_slice = Vec::new();
    converter().convert(&video[..], &mut of_slice).unwrap();
    assert!(std::fs::read(&path).unwrap() == of_slice);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_a_time_do_not_mix() {
    let tasks = (0..24).map(|i| {
        let name = CLIPS[i % CLIPS.len()];
        tokio::spawn(async move {
            let video = clip(name);
            let source = AsyncSource::from_stream(chunks(&video, 500 + 777 * i));
            let mp3 = collect(Converter::new(Options::new().jobs(1)).into_stream(source)).await;
            assert!(mp3 == expected(&video, Options::new().jobs(1)), "{name}");
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}
