//! Where files are kept: adapters of [`Storage`](micropy_core::ports::Storage).

#[cfg(feature = "filesystem")]
pub mod filesystem;
#[cfg(feature = "gridfs")]
pub mod gridfs;
#[cfg(feature = "s3")]
pub mod s3;
