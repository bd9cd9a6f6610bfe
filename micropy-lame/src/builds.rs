//! The builds of LAME that are linked in, and the choice between them.

use std::ffi::{c_char, c_float, c_int, c_uchar};
use std::fmt;
use std::sync::{Once, OnceLock};

use crate::Error;
use crate::api::{Api, GlobalFlags, Report, link_api, with_functions};

/// How the LAME that runs was compiled. Their output differs in the last bits of rounding, not in quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Build {
    /// With kernels in Rust in place of LAME's hot stages (see [`stages`]): on x86-64 for the same processors as
    /// [`Avx2`](Self::Avx2), on aarch64 for all.
    Kernels,
    /// For x86-64 processors with AVX2 and FMA (x86-64-v3: Intel since 2013, AMD since 2015).
    Avx2,
    /// For every processor of the target, without assertions; with SSE2 on x86-64.
    Baseline,
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernels if cfg!(target_arch = "aarch64") => "NEON with kernels",
            Self::Kernels => "AVX2 with kernels",
            Self::Avx2 => "AVX2",
            Self::Baseline => "baseline",
        })
    }
}

/// A stage of the encoder that a kernel in Rust can replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// In the words of ISO/IEC 11172-3.
    pub name: &'static str,
    /// Whether a kernel does its work, or LAME's own code.
    pub is_kernel: bool,
}

/// A build that is linked in.
pub struct Linked {
    build: Build,
    runs: fn() -> bool,
    stages: &'static [Stage],
    api: Api,
    tables: Once,
}

impl Linked {
    const fn new(build: Build, runs: fn() -> bool, stages: &'static [Stage], api: Api) -> Self {
        Self {
            build,
            runs,
            stages,
            api,
            tables: Once::new(),
        }
    }

    /// Its functions, after `init` has had LAME write its global tables: each encoder writes the same values again, so
    /// that the first one must have ended before any other starts.
    pub fn api(&'static self, init: impl FnOnce(&'static Api)) -> &'static Api {
        self.tables.call_once(|| init(&self.api));
        &self.api
    }
}

include!(concat!(env!("OUT_DIR"), "/builds.rs"));

fn runnable() -> impl Iterator<Item = &'static Linked> {
    TUNED.iter().filter(|linked| (linked.runs)())
}

/// The fastest build this processor can run.
pub fn fastest() -> &'static Linked {
    static FASTEST: OnceLock<&Linked> = OnceLock::new();
    FASTEST.get_or_init(|| {
        runnable()
            .next()
            .expect("the build script makes one for every processor of the target")
    })
}

/// A certain build, for tests and benches.
pub fn find(build: Build) -> Result<&'static Linked, Error> {
    runnable()
        .find(|linked| linked.build == build)
        .ok_or(Error::Build(build))
}

/// The build of LAME that [`Encoder::new`](crate::Encoder::new) uses in this process.
#[must_use]
pub fn build() -> Build {
    fastest().build
}

/// The stages of the encoder that kernels can replace in [`build()`], in the order of their work; none in a build
/// without kernels.
#[must_use]
pub fn stages() -> &'static [Stage] {
    fastest().stages
}

/// All builds this processor can run, the fastest first.
#[doc(hidden)]
#[must_use]
pub fn builds() -> Vec<Build> {
    runnable().map(|linked| linked.build).collect()
}
