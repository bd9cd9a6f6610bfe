//! `--watch`: a folder whose videos become MP3s as they arrive.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use micropy_core::{Error, Prober};
use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::batch::{self, Task};
use crate::convert::{Args, Batch};
use crate::existing::Existing;
use crate::log::Verbosity;
use crate::output::{self, Output, create_folders, is_same, place, refuse_file_as_folder};
use crate::tree::{self, Input};
use crate::{Exit, input, message};

/// A file is done when it has not changed for so long: whoever writes it may pause.
const STEADY: Duration = Duration::from_secs(2);
/// How often waiting files are looked at, and whether somebody pressed Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// How often the folders are looked through. Network file systems tell nothing of what others do.
const ROUND: Duration = Duration::from_secs(10);

/// Refuses what cannot be watched.
pub fn refuse(args: &Args) -> Result<(), String> {
    if let Some(path) = args.inputs.iter().find(|path| !path.is_dir()) {
        return Err(format!(
            "{} is no folder: --watch takes folders",
            input::shown(path)
        ));
    }
    if let Some(output) = &args.output {
        refuse_file_as_folder(output, "several files")?;
    }
    match &args.output {
        Some(output) if input::is_dash(output) => {
            Err("--watch writes files: say with --output in which folder".into())
        }
        _ => Ok(()),
    }
}

/// Converts what is in the folders and what comes into them, until Ctrl-C.
pub fn run(batch: &Batch<'_>) -> Exit {
    let roots: Vec<Root> = batch
        .args
        .inputs
        .iter()
        .map(|path| Root::of(path))
        .collect();
    let (sender, events) = channel();
    // Held until the end: dropped, it watches no more.
    let mut watcher = match notify::recommended_watcher(sender) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            message::problem(without_events(&error));
            None
        }
    };
    if let Some(watcher) = &mut watcher {
        roots
            .iter()
            .for_each(|root| watch(watcher, &root.real, batch.args.recursive));
    }
    if batch.args.verbosity() > Verbosity::Quiet {
        let names: Vec<String> = roots
            .iter()
            .map(|root| root.given.display().to_string())
            .collect();
        message::line(format_args!(
            "watching {}; Ctrl-C ends it",
            names.join(", ")
        ));
    }
    let mut owners = Owners::before(batch, &roots);
    let mut arrivals = Arrivals::default();
    let mut looked: Option<Instant> = None;
    while !batch.interrupt.token().is_cancelled() {
        if looked.is_none_or(|at| at.elapsed() >= ROUND) {
            arrivals.look_through(&roots, batch.args.recursive);
            looked = Some(Instant::now());
        }
        match arrivals.listen(&events, &roots, batch.args.recursive) {
            true => {}
            // Events were lost, or a folder came with files in it.
            false => looked = None,
        }
        let ready = arrivals.ready(batch);
        if ready.is_empty() {
            continue;
        }
        if batch::run(batch, &tasks(batch, ready, &mut owners), false) == Exit::Interrupted {
            return Exit::Interrupted;
        }
    }
    // That is how watching ends.
    Exit::Done
}

/// A folder that is watched.
#[derive(Debug)]
struct Root {
    /// As it was named.
    given: PathBuf,
    /// As the system names it in its events.
    real: PathBuf,
}

impl Root {
    fn of(path: &Path) -> Self {
        Root {
            given: path.to_owned(),
            real: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        }
    }

    /// The path of an event, if it is about this folder, as if the user had named it.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.real)
            .ok()
            .map(|below| self.given.join(below))
    }
}

fn watch(watcher: &mut RecommendedWatcher, root: &Path, recursive: bool) {
    let mode = match recursive {
        true => RecursiveMode::Recursive,
        false => RecursiveMode::NonRecursive,
    };
    if let Err(error) = watcher.watch(root, mode) {
        message::problem(without_events(&error));
    }
}

fn without_events(error: &notify::Error) -> String {
    let every = ROUND.as_secs();
    format!(
        "the system does not tell of new files ({error}): the folders are looked through every {every} s"
    )
}

/// The outputs of files that are ready. One whose MP3 would take another's place is told and left out.
fn tasks(batch: &Batch<'_>, ready: Vec<(Input, State)>, owners: &mut Owners) -> Vec<Task> {
    let mut tasks = Vec::with_capacity(ready.len());
    for (input, state) in ready {
        let made = output::output(&input, batch.wanted(), true);
        let made = made.and_then(|output| {
            create_folders(&[&output], batch.wanted(), true)?;
            let Some(path) = output.path() else {
                return Ok((output, false));
            };
            let place = place(path);
            let exists = place.exists();
            match owners.claim(place, &input.path, state) {
                Ok(is_changed) => Ok((output, is_changed)),
                Err(owner) if exists && !owner.exists() => Err(format!(
                    "it would replace {}, which was made of {}",
                    path.display(),
                    owner.display()
                )),
                Err(owner) => Err(format!(
                    "it and {} would both become {}",
                    owner.display(),
                    path.display()
                )),
            }
        });
        match made {
            Ok((output, is_changed)) => tasks.push(Task {
                input,
                output,
                is_changed,
            }),
            Err(why) => message::problem(format_args!("{}: {why}", input.path.display())),
        }
    }
    tasks
}

/// Which video each MP3 is of, for as long as it watches: no other takes its place.
#[derive(Debug, Default)]
struct Owners {
    of: HashMap<PathBuf, Owner>,
    /// From so many on, those are forgotten of which nothing is left.
    many: usize,
}

/// What an MP3 is of.
#[derive(Debug)]
struct Owner {
    /// The video; several where one of them made it before, and nobody knows which.
    videos: Vec<PathBuf>,
    /// In which it was converted, if it was since the watch began.
    state: Option<State>,
}

impl Owners {
    /// Those of MP3s that are there already, where several videos would become one. What is older than the MP3 has made
    /// it; what is newer has not.
    fn before(batch: &Batch<'_>, roots: &[Root]) -> Self {
        let mut videos: HashMap<PathBuf, Vec<(PathBuf, bool)>> = HashMap::new();
        for Root { given, .. } in roots {
            for video in tree::videos(given, batch.args.recursive).videos {
                let input = Input::found(video, given);
                let Ok(Output::File(path)) = output::output(&input, batch.wanted(), true) else {
                    continue;
                };
                if !path.exists() {
                    continue;
                }
                let kept = Existing::Update.reason_to_keep(&input.path, &path);
                let is_older = matches!(kept, Ok(Some(_)));
                let same = videos.entry(place(&path)).or_default();
                if !same.iter().any(|(other, _)| is_same(other, &input.path)) {
                    same.push((input.path, is_older));
                }
            }
        }
        let owner = |mut same: Vec<(PathBuf, bool)>| {
            if same.iter().any(|(_, is_older)| *is_older) {
                same.retain(|(_, is_older)| *is_older);
            }
            Owner {
                videos: same.into_iter().map(|(video, _)| video).collect(),
                state: None,
            }
        };
        let several = videos.into_iter().filter(|(_, same)| same.len() > 1);
        Owners {
            of: several.map(|(place, same)| (place, owner(same))).collect(),
            many: 0,
        }
    }

    /// Gives the MP3 at `place` to `video`, which is in this state. Returns whether it was made of another state of it.
    ///
    /// # Errors
    /// The video whose MP3 it is.
    fn claim(&mut self, place: PathBuf, video: &Path, state: State) -> Result<bool, PathBuf> {
        self.forget_some();
        let new = Owner {
            videos: vec![video.to_owned()],
            state: Some(state),
        };
        let Some(owner) = self.of.get_mut(&place) else {
            self.of.insert(place, new);
            return Ok(false);
        };
        let exists = place.exists();
        let others = owner.videos.iter().filter(|other| !is_same(other, video));
        let is_known = owner.videos.len() == 1;
        let mut others = others.filter(|other| other.exists() || is_known && exists);
        if let Some(other) = others.next() {
            return Err(other.clone());
        }
        let is_changed = owner.state.is_some_and(|made_in| made_in != state);
        *owner = new;
        Ok(is_changed && exists)
    }

    fn forget_some(&mut self) {
        if self.of.len() > self.many {
            self.of
                .retain(|place, owner| place.exists() || owner.videos.iter().any(|v| v.exists()));
            self.many = 2 * self.of.len() + 1000;
        }
    }
}

/// Files that are waited for, and files that are done.
#[derive(Debug, Default)]
struct Arrivals {
    waiting: HashMap<PathBuf, Waiting>,
    /// With the state in which they were converted: changed, they are new.
    done: HashMap<PathBuf, State>,
}

/// A file that may still be written.
#[derive(Debug)]
struct Waiting {
    root: PathBuf,
    state: State,
    /// Since when it is in this state.
    since: Instant,
    /// It came by its name whole, moved from elsewhere.
    is_moved: bool,
    /// It was looked into in this state, and is no video yet.
    is_unfinished: bool,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    len: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let found = path.metadata().ok().filter(|found| found.is_file())?;
        Some(State {
            len: found.len(),
            modified: found.modified().ok(),
        })
    }

    /// How long ago it changed last, by its own time. A time in the future is no time.
    fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.modified?).ok()
    }
}

impl Arrivals {
    /// Finds what events may have missed.
    fn look_through(&mut self, roots: &[Root], recursive: bool) {
        let mut there = HashSet::new();
        for Root { given, .. } in roots {
            for video in tree::videos(given, recursive).videos {
                self.arrive(&video, given, false);
                there.insert(video);
            }
        }
        self.done.retain(|path, _| there.contains(path));
        self.waiting.retain(|path, _| there.contains(path));
    }

    /// Waits a moment for events and notes the files that they are about. `false`: there may be more than they tell.
    fn listen(
        &mut self,
        events: &Receiver<notify::Result<Event>>,
        roots: &[Root],
        recursive: bool,
    ) -> bool {
        let mut next = match events.recv_timeout(TICK) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            // Nobody watches.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(TICK);
                None
            }
        };
        let mut heard_all = true;
        while let Some(event) = next {
            match event {
                Ok(event) => heard_all &= self.note(&event, roots, recursive),
                Err(_) => heard_all = false,
            }
            next = events.try_recv().ok();
        }
        heard_all
    }

    fn note(&mut self, event: &Event, roots: &[Root], recursive: bool) -> bool {
        let is_moved = matches!(
            event.kind,
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
        );
        let mut heard_all = !event.need_rescan();
        // Reading is an event as well, our own too.
        let is_arrival = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        for path in &event.paths {
            if recursive && is_arrival && path.is_dir() {
                heard_all = false;
            } else if tree::is_video(path)
                && let Some((root, path)) = roots
                    .iter()
                    .find_map(|root| Some((root, root.below(path)?)))
                && !tree::is_hidden_below(&root.given, &path)
            {
                self.arrive(&path, &root.given, is_moved);
            }
        }
        heard_all
    }

    /// A file is there, or has changed.
    fn arrive(&mut self, path: &Path, root: &Path, is_moved: bool) {
        let Some(state) = State::of(path) else {
            self.waiting.remove(path);
            return;
        };
        if self.done.get(path) == Some(&state) {
            return;
        }
        let known = self
            .waiting
            .get_mut(path)
            .filter(|waiting| waiting.state == state);
        match known {
            Some(waiting) => waiting.is_moved |= is_moved,
            None => {
                let waiting = Waiting {
                    root: root.to_owned(),
                    state,
                    since: Instant::now(),
                    is_moved,
                    is_unfinished: false,
                };
                self.waiting.insert(path.to_owned(), waiting);
            }
        }
    }

    /// Takes out the files that are whole, in the order of their names, with the state that they are in.
    fn ready(&mut self, batch: &Batch<'_>) -> Vec<(Input, State)> {
        let mut ready = Vec::new();
        self.waiting.retain(|path, waiting| {
            let Some(state) = State::of(path) else {
                return false;
            };
            if state != waiting.state {
                *waiting = Waiting {
                    root: std::mem::take(&mut waiting.root),
                    state,
                    since: Instant::now(),
                    is_moved: false,
                    is_unfinished: false,
                };
                return true;
            }
            let quiet = waiting.since.elapsed() >= STEADY;
            let is_steady =
                waiting.is_moved || quiet && state.age().is_none_or(|age| age >= STEADY);
            if !is_steady || waiting.is_unfinished {
                return true;
            }
            if let Some(why) = unfinished(batch, path) {
                waiting.is_unfinished = true;
                if batch.args.verbosity() > Verbosity::Quiet {
                    message::line(format_args!(
                        "{}: waits until it changes: {why}",
                        path.display()
                    ));
                }
                return true;
            }
            ready.push((Input::found(path.clone(), &waiting.root), state));
            false
        });
        self.done.extend(
            ready
                .iter()
                .map(|(input, state)| (input.path.clone(), *state)),
        );
        ready.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        ready
    }
}

/// Why a file looks as if it were still being written: it has no `moov` that can be read.
fn unfinished(batch: &Batch<'_>, path: &Path) -> Option<String> {
    let source = batch.open(path).ok()?;
    let prober = Prober::new().cancel(batch.interrupt.token().clone());
    match prober.probe(source) {
        Err(error @ (Error::NotMp4 { .. } | Error::Malformed { .. })) => Some(error.to_string()),
        // Everything else is for the conversion to tell.
        _ => None,
    }
}
