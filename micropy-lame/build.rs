//! Compiles LAME a second time, faster.
//!
//! mp3lame-sys builds LAME for the oldest processor, with assertions, and leaves LAME's own SSE code unused. Its package holds
//! LAME's source, so from there we compile libmp3lame again: once for any processor of the target, and on x86-64 once more for
//! those with AVX2 and FMA. Every global symbol gets a prefix, so that all builds can be linked into one program. Which build
//! runs is decided when the program runs; `builds.rs`, written here, is the table it chooses from.
//!
//! Where the source is not found or the compiler cannot do it, there is a warning, and mp3lame-sys's own build runs.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package whose LAME we compile; the version is pinned in `Cargo.toml`.
const PACKAGE: &str = "mp3lame-sys";
const VERSION: &str = "0.1.11";
const LAME: &str = "lame-3.100";

/// The C files of libmp3lame, without the decoder.
const FILES: [&str; 20] = [
    "VbrTag",
    "bitstream",
    "encoder",
    "fft",
    "gain_analysis",
    "id3tag",
    "lame",
    "newmdct",
    "presets",
    "psymodel",
    "quantize",
    "quantize_pvt",
    "reservoir",
    "set_get",
    "tables",
    "takehiro",
    "util",
    "vbrquantize",
    "vector/xmm_quantize_sub",
    "version",
];

/// What libmp3lame defines for other files or programs (`nm -g`).
const SYMBOLS: &str = include_str!("symbols.txt");

/// One way to compile LAME.
struct Build {
    /// The variant of `Build` in `src/builds.rs`.
    name: &'static str,
    prefix: &'static str,
    flags: &'static [&'static str],
    /// Whether the processor can run it, in Rust.
    runs: &'static str,
}

/// Sums may be reordered, and neither NaN nor infinity is expected: the encoder lets none in. `-ffast-math` itself would also make
/// glibc's headers offer vector functions from libmvec, which Rust does not link.
const MATHS: [&str; 6] = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
    "-ffinite-math-only",
];

const AVX2: Build = Build {
    name: "Avx2",
    prefix: "micropy_avx2_",
    flags: &["-march=x86-64-v3", "-mtune=haswell"],
    runs: r#"is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")"#,
};

const BASELINE: Build = Build {
    name: "Baseline",
    prefix: "micropy_baseline_",
    flags: &[],
    runs: "true",
};

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "symbols.txt"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let built = match (env::var_os("DOCS_RS"), source()) {
        (Some(_), _) => Vec::new(),
        (None, Ok(source)) => builds()
            .into_iter()
            .filter(|build| compiled(build, &source))
            .collect(),
        (None, Err(error)) => {
            println!("cargo::warning=no faster LAME: its source is not found: {error}");
            Vec::new()
        }
    };
    let table = PathBuf::from(env::var("OUT_DIR")?).join("builds.rs");
    fs::write(table, rust_table(&built))?;
    Ok(())
}

/// The builds worth a try for the target, the fastest first.
fn builds() -> Vec<Build> {
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    match (target("ARCH").as_str(), target("ENV").as_str()) {
        // Other flags, other intrinsics, and a `windows.h` that redefines LAME's types: left to mp3lame-sys.
        (_, "msvc") => Vec::new(),
        ("x86_64", _) => vec![AVX2, BASELINE],
        _ => vec![BASELINE],
    }
}

/// Finds the folder `lame-3.100` in mp3lame-sys's package.
fn source() -> Result<PathBuf, Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let package = beside(&here)
        .into_iter()
        .chain(in_registries())
        .find(|package| is_package(package));
    match package {
        Some(package) => Ok(package.join(LAME)),
        None => Ok(package_by_cargo(&here)?.join(LAME)),
    }
}

/// Where the package is when we come from a registry or a vendor folder ourselves: those lay packages out side by side.
fn beside(here: &Path) -> Vec<PathBuf> {
    let names = [format!("{PACKAGE}-{VERSION}"), PACKAGE.to_owned()];
    names
        .into_iter()
        .map(|name| here.with_file_name(name))
        .collect()
}

/// Where the package is when we are a path or a checkout.
fn in_registries() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let registries = sources.into_iter().flatten().flatten();
    registries
        .map(|registry| registry.path().join(format!("{PACKAGE}-{VERSION}")))
        .collect()
}

fn is_package(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.contains(&format!("version = \"{VERSION}\""))
        && folder.join(LAME).join("libmp3lame/lame.c").is_file()
}

/// Asks Cargo where else it keeps the package, such as a vendor folder; it has it, since we depend on it.
fn package_by_cargo(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--offline"])
        .args(["--filter-platform", &env::var("TARGET")?])
        .arg("--manifest-path")
        .arg(here.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', " ")
            .into());
    }
    let metadata = String::from_utf8(output.stdout)?;
    metadata
        .split('"')
        .filter(|text| text.ends_with("Cargo.toml") && text.contains(PACKAGE))
        .map(|manifest| PathBuf::from(manifest.replace("\\\\", "\\")))
        .filter_map(|manifest| manifest.parent().map(Path::to_owned))
        .find(|package| is_package(package))
        .ok_or_else(|| format!("`cargo metadata` names no {PACKAGE} {VERSION}").into())
}

/// Compiles and links one build, or says why not.
fn compiled(build: &Build, source: &Path) -> bool {
    let compile = || -> Result<(), Box<dyn Error>> {
        let renames = renames(build)?;
        let mut cc = cc::Build::new();
        cc.files(FILES.map(|file| source.join("libmp3lame").join(file).with_extension("c")))
            .include(source.join("include"))
            .include(source.join("libmp3lame"))
            .flag("-include")
            .flag(renames)
            .flag("-fvisibility=hidden")
            .warnings(false)
            .cargo_warnings(false)
            .debug(false)
            .force_frame_pointer(false)
            // Faster than -O3 by 2 % to 3 %: GCC splits and unswitches the loops of the psychoacoustics to no good.
            .opt_level(2)
            .flag("-ftree-vectorize")
            .define("NDEBUG", None)
            .flags(MATHS)
            .flags(build.flags);
        configured(&mut cc).try_compile(&format!("{}mp3lame", build.prefix))?;
        Ok(())
    };
    match compile() {
        Ok(()) => true,
        Err(error) => {
            println!("cargo::warning=no LAME for {}: {error}", build.name);
            false
        }
    }
}

/// What LAME's `configure` would find out on any system we go on to compile for, but for `TAKEHIRO_IEEE754_HACK`: rounding by
/// adding 2^23 is slower today than the truncation that compilers turn into vector instructions, by 8 % to 20 %.
fn configured(cc: &mut cc::Build) -> &mut cc::Build {
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        cc.define("HAVE_XMMINTRIN_H", None)
            .define("MIN_ARCH_SSE", None);
    }
    cc.define("USE_FAST_LOG", None)
        .define("ieee754_float32_t", "float")
        .define("LAME_LIBRARY_BUILD", None)
        .define("STDC_HEADERS", None)
        .define("HAVE_ERRNO_H", None)
        .define("HAVE_INTTYPES_H", None)
        .define("HAVE_LIMITS_H", None)
}

/// Writes a header that gives every symbol the build's prefix.
fn renames(build: &Build) -> Result<PathBuf, Box<dyn Error>> {
    let mut header = String::new();
    for symbol in SYMBOLS.lines() {
        writeln!(header, "#define {symbol} {}{symbol}", build.prefix)?;
    }
    let file = PathBuf::from(env::var("OUT_DIR")?).join(format!("{}renames.h", build.prefix));
    fs::write(&file, header)?;
    Ok(file)
}

/// The table `src/builds.rs` includes.
fn rust_table(builds: &[Build]) -> String {
    let rows = builds.iter().map(
        |Build {
             name, prefix, runs, ..
         }| {
            format!(
                "Linked::new(Build::{name}, || {runs}, with_functions!(link_api {prefix:?})),\n"
            )
        },
    );
    format!(
        "/// All builds compiled by `build.rs`, the fastest first.\nstatic TUNED: [Linked; {}] = [\n{}];\n",
        builds.len(),
        rows.collect::<String>()
    )
}
