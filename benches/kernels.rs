//! The kernels in place of LAME's stages, one by one: the time that a granule of one channel takes.
//!
//! ```sh
//! cargo bench -p micropy-benches --bench kernels
//! cargo bench -p micropy-benches --bench kernels -- search
//! ```
//!
//! Each call takes the next of 64 granules, of all levels and slopes.

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernels");
    for mut stage in micropy_lame::measure::stages() {
        group.bench_function(stage.name, |b| b.iter(&mut stage.run));
    }
    group.finish();
}

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn kernels(_: &mut Criterion) {
    println!("there are no kernels for this processor");
}

#[allow(missing_docs, reason = "made by the macro")]
mod groups {
    use super::*;
    criterion_group!(benches, kernels);
}
criterion_main!(groups::benches);
