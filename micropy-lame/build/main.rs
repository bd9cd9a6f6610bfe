//! Compiles LAME, whose source is in `lame`: with a C compiler alone, without configure and make.
//!
//! It is compiled once for any processor of the target. On x86-64 it is compiled twice more for those with AVX2 and FMA,
//! as it is and with its hot stages replaced by kernels in Rust (`stages.rs`), and on aarch64, where each processor has
//! NEON, once more with these. Every global symbol gets a prefix, so that all
//! builds can be linked into one program. Which build runs is decided when the program runs; `builds.rs`, written here,
//! is the table it chooses from.
//!
//! Where the compiler cannot make one of them, the build fails: no program is slow without anybody knowing. With
//! `MICROPY_LAME=baseline` in the environment the build for any processor is the only one.

mod stages;

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use stages::Stage;

/// LAME 3.100, as its authors published it.
const SOURCE: &str = "lame";

/// Asks for a choice of builds.
const CHOICE: &str = "MICROPY_LAME";

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
const SYMBOLS: &str = include_str!("../symbols.txt");

/// One way to compile LAME.
struct Build {
    /// The variant of `Build` in `src/builds.rs`.
    name: &'static str,
    prefix: &'static str,
    flags: &'static [&'static str],
    /// Whether the processor can run it, in Rust.
    runs: &'static str,
    /// Whether kernels replace stages of it.
    kernels: bool,
}

/// A build that is compiled and linked, and the stages of it that kernels do.
struct Compiled {
    build: Build,
    stages: &'static [Stage],
}

/// Sums may be reordered, and neither NaN nor infinity is expected: the encoder lets none in. `-ffast-math` itself
/// would also make glibc's headers offer vector functions from libmvec, which Rust does not link.
const MATHS: [&str; 6] = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
    "-ffinite-math-only",
];

const X86_64_V3: &[&str] = &["-march=x86-64-v3", "-mtune=haswell"];

const RUNS_X86_64_V3: &str = r#"is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")"#;

const KERNELS: Build = Build {
    name: "Kernels",
    prefix: "micropy_kernels_",
    flags: X86_64_V3,
    runs: RUNS_X86_64_V3,
    kernels: true,
};

const NEON_KERNELS: Build = Build {
    name: "Kernels",
    prefix: "micropy_kernels_",
    flags: &[],
    runs: "true",
    kernels: true,
};

const AVX2: Build = Build {
    name: "Avx2",
    prefix: "micropy_avx2_",
    flags: X86_64_V3,
    runs: RUNS_X86_64_V3,
    kernels: false,
};

const BASELINE: Build = Build {
    name: "Baseline",
    prefix: "micropy_baseline_",
    flags: &[],
    runs: "true",
    kernels: false,
};

/// For Microsoft's compiler, which has other flags and other intrinsics.
const MICROSOFT: Build = Build {
    name: "Baseline",
    prefix: "",
    flags: &[],
    runs: "true",
    kernels: false,
};

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build", "glue", SOURCE, "symbols.txt"] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed={CHOICE}");
    let built = if env::var_os("DOCS_RS").is_some() {
        Vec::new()
    } else {
        builds()?
            .into_iter()
            .map(compiled)
            .collect::<Result<_, _>>()
            .unwrap_or_else(|message| {
                println!("cargo::error={}", message.replace('\n', " "));
                process::exit(1)
            })
    };
    let table = out_dir()?.join("builds.rs");
    fs::write(table, rust_table(&built))?;
    Ok(())
}

/// The builds for the target, the fastest first.
fn builds() -> Result<Vec<Build>, Box<dyn Error>> {
    let baseline_alone = match env::var(CHOICE).as_deref() {
        Err(_) | Ok("") => false,
        Ok("baseline") => true,
        Ok(other) => return Err(format!("{CHOICE} is {other:?}, which is not `baseline`").into()),
    };
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    Ok(match (target("ARCH").as_str(), target("ENV").as_str()) {
        (_, "msvc") => vec![MICROSOFT],
        ("x86_64", _) if !baseline_alone => vec![KERNELS, AVX2, BASELINE],
        ("aarch64", _) if !baseline_alone && target("ENDIAN") == "little" => {
            vec![NEON_KERNELS, BASELINE]
        }
        _ => vec![BASELINE],
    })
}

/// Compiles and links one build, or says why not and what to do.
fn compiled(build: Build) -> Result<Compiled, String> {
    let done = if build.prefix == MICROSOFT.prefix {
        compile_for_microsoft()
    } else {
        compile(&build)
    };
    let stages = done.map_err(|error| {
        let way_out = if build.flags == X86_64_V3 {
            format!(
                " It takes GCC 11 or Clang 12, or later ones. With {CHOICE}=baseline in the environment, LAME's own code does \
                 the work, at 30 to 56 % of the speed."
            )
        } else {
            String::new()
        };
        format!("LAME for {} cannot be compiled: {error}.{way_out}", build.name)
    })?;
    Ok(Compiled { build, stages })
}

fn compile(build: &Build) -> Result<&'static [Stage], Box<dyn Error>> {
    let renames = renames(build)?;
    let source = Path::new(SOURCE);
    let mut cc = cc::Build::new();
    let mut libmp3lame = source.join("libmp3lame");
    let mut stages: &[Stage] = &[];
    if build.kernels {
        libmp3lame = stages::lay_out(&libmp3lame, &out_dir()?.join("kernels"), build.prefix)?;
        stages = stages::STAGES;
        let glue = stages.iter().filter_map(|stage| stage.glue);
        cc.files(glue.map(|file| Path::new("glue").join(file)))
            .include("glue");
        if env::var_os("CARGO_FEATURE_ORACLE").is_some() {
            cc.define("MICROPY_ORACLE", None);
        }
    }
    cc.files(FILES.map(|file| libmp3lame.join(file).with_extension("c")))
        .include(source.join("include"))
        .include(libmp3lame)
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
    Ok(stages)
}

/// With Microsoft's compiler: LAME's own settings for it, and no prefix, since its `windows.h` redefines LAME's types.
fn compile_for_microsoft() -> Result<&'static [Stage], Box<dyn Error>> {
    let source = Path::new(SOURCE);
    let libmp3lame = source.join("libmp3lame");
    let settings = out_dir()?.join("microsoft");
    fs::create_dir_all(&settings)?;
    fs::write(
        settings.join("config.h"),
        fs::read(source.join("configMS.h"))?,
    )?;
    cc::Build::new()
        .files(FILES.map(|file| libmp3lame.join(file).with_extension("c")))
        .include(source.join("include"))
        .include(settings)
        .include(libmp3lame)
        .warnings(false)
        .cargo_warnings(false)
        .opt_level(2)
        .define("NDEBUG", None)
        .define("HAVE_CONFIG_H", None)
        .define("TAKEHIRO_IEEE754_HACK", None)
        .define("FLOAT8", "float")
        .define("REAL_IS_FLOAT", "1")
        .define("BS_FORMAT", "BINARY")
        .try_compile("mp3lame")?;
    Ok(&[])
}

fn out_dir() -> Result<PathBuf, env::VarError> {
    env::var("OUT_DIR").map(PathBuf::from)
}

/// What LAME's `configure` would find out on any system that is compiled for, but for `TAKEHIRO_IEEE754_HACK`: rounding
/// by adding 2^23 is slower today than the truncation that compilers turn into vector instructions, by 8 % to 20 %.
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
    let file = out_dir()?.join(format!("{}renames.h", build.prefix));
    fs::write(&file, header)?;
    Ok(file)
}

/// The table `src/builds.rs` includes.
fn rust_table(builds: &[Compiled]) -> String {
    let rows = builds.iter().map(|Compiled { build, stages }| {
        let Build {
            name, prefix, runs, ..
        } = build;
        let stages = stages
            .iter()
            .map(|stage| format!("Stage {{ name: {:?}, is_kernel: true }}, ", stage.name))
            .collect::<String>();
        format!(
            "Linked::new(Build::{name}, || {runs}, &[{stages}], with_functions!(link_api {prefix:?})),\n"
        )
    });
    format!(
        "/// All builds compiled by the build script, the fastest first.\nstatic TUNED: [Linked; {}] = [\n{}];\n",
        builds.len(),
        rows.collect::<String>()
    )
}
