//! A job on its way through the services.

pub mod adoption;
pub mod intake;
pub mod message;
pub mod options;
pub mod outbox;
pub mod product;
